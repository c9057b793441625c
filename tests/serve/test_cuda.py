"""The engine on a CUDA device: what it answers there is what PEFT answers alone on the same device."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.serve.engine.loader import load_transformers
from harness.serve.engine.tiny import save_tiny
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import ChoiceOutput, GenerationRequest, JsonOutput
from tests.serve.adapters import save_adapter
from tests.serve.helpers import ask, generated_alone, run_all

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SHARED = "The desk answers in one sentence. It never promises a date. " * 3


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The tiny model and two adapters."""
    save_tiny(tmp_path / "base")
    save_adapter(tmp_path / "one", seed=1, rank=4, modules=("q_proj", "v_proj", "down_proj"))
    save_adapter(tmp_path / "two", seed=2, rank=2, modules="all-linear", rslora=True)
    return tmp_path


@pytest.fixture
def engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> TransformersEngine:
    """An engine on the device with both adapters."""
    monkeypatch.setenv("SIGNOFF_DEVICE", "cuda")
    made = load_transformers(home / "base")
    for name in ("one", "two"):
        made.load_adapter(name, home / name)
    return made


def test_mixed_requests_are_what_each_is_alone(home: Path, engine: TransformersEngine) -> None:
    """24 requests over base and two adapters with shared beginnings, in one running batch, token for token."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(home / "base")
    models: dict[str | None, Any] = {}
    for name in (None, "one", "two"):
        base = AutoModelForCausalLM.from_pretrained(home / "base")
        model = base if name is None else PeftModel.from_pretrained(base, str(home / name))
        models[name] = model.eval().to("cuda")
    rng = random.Random(0)
    requests: list[GenerationRequest] = [
        replace(
            ask((SHARED if rng.random() < 0.7 else "") + "q" * rng.randint(1, 60), max_tokens=rng.randint(4, 40)),
            adapter=rng.choice((None, "one", "two")),
        )
        for _ in range(24)
    ]
    found = [each.text for each in run_all(engine, requests)]
    assert found == [generated_alone(models[each.adapter], tokenizer, each) for each in requests]
    assert len({(each.adapter, text) for each, text in zip(requests, found, strict=True)}) > 12


def test_forms_choices_and_seeds(engine: TransformersEngine) -> None:
    """Grammars, scored options and seeded draws work there; a seed gives the same text alone and in a full batch."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    drawn = ask("Hello?", temperature=1.0, seed=7, max_tokens=16)
    (alone,) = run_all(engine, [drawn])
    formed = replace(ask("Hello?", max_tokens=60), output=JsonOutput(schema))
    chosen = replace(ask("Hello?"), output=ChoiceOutput(("red", "blue")))
    json_, choice, again, *_ = run_all(
        engine, [formed, chosen, drawn, *(ask("q" * n, max_tokens=16) for n in range(9))]
    )
    assert json_.text.replace(" ", "").replace("\n", "") in ('{"ok":true}', '{"ok":false}')
    assert choice.text in ("red", "blue")
    assert again.text == alone.text
