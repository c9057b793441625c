"""Adapters side by side in one batch are exactly what each is alone, and broken ones never serve."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import UsageError
from harness.serve.engine.tiny import tiny_engine, tiny_model, tiny_tokenizer
from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine
from harness.serve.protocol import ChoiceOutput, GenerationRequest, JsonOutput, RequestError
from tests.serve.adapters import save_adapter
from tests.serve.helpers import ask, generated_alone, run_all

SHARED = "The desk answers in one sentence. It never promises a date. " * 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters that PEFT wrote, of different rank and different modules."""
    home = tmp_path_factory.mktemp("adapters")
    return {
        "one": save_adapter(home / "one", seed=1, rank=4, modules=("q_proj", "v_proj", "down_proj")),
        "two": save_adapter(home / "two", seed=2, rank=2, modules="all-linear", rslora=True),
    }


@pytest.fixture(scope="module")
def alone(folders: dict[str, Path]) -> Callable[[GenerationRequest], str]:
    """What PEFT itself answers, with one adapter and one request at a time."""
    from peft import PeftModel

    models: dict[str | None, Any] = {None: tiny_model()}
    for name, folder in folders.items():
        models[name] = PeftModel.from_pretrained(tiny_model(), str(folder)).eval()
    tokenizer = tiny_tokenizer()
    return lambda request: generated_alone(models[request.adapter], tokenizer, request)


def loaded(folders: dict[str, Path], limits: EngineLimits | None = None) -> TransformersEngine:
    """An engine that serves both adapters."""
    engine = tiny_engine(limits=limits)
    for name, folder in folders.items():
        engine.load_adapter(name, folder)
    return engine


def mixed(count: int, seed: int) -> list[GenerationRequest]:
    """Requests over base and adapters in random order, most of them behind one long shared beginning."""
    rng = random.Random(seed)
    return [
        replace(
            ask((SHARED if rng.random() < 0.7 else "") + "q" * rng.randint(1, 60), max_tokens=rng.randint(4, 40)),
            adapter=rng.choice([None, "one", "two"]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("limits", [EngineLimits(), EngineLimits(slots=5, step_tokens=32, prefix_tokens=320)], ids=str)
def test_24_mixed_requests_answer_as_each_alone(
    folders: dict[str, Path], alone: Callable[[GenerationRequest], str], limits: EngineLimits
) -> None:
    """Base and two adapters in one batch, behind shared beginnings, give token for token what PEFT gives to each."""
    engine, requests = loaded(folders, limits), mixed(24, seed=5)
    assert {request.adapter for request in requests} == {None, "one", "two"}
    found = [answer.text for answer in run_all(engine, requests)]
    assert found == [alone(request) for request in requests]
    assert engine.stats.reused_tokens > 0


def test_requests_that_arrive_midway_change_nothing(
    folders: dict[str, Path], alone: Callable[[GenerationRequest], str]
) -> None:
    """Staggered arrivals and cancellations between tokens leave every other answer as it is alone."""
    engine, requests = loaded(folders, EngineLimits(slots=6)), mixed(20, seed=9)
    rng, tickets, found = random.Random(1), {}, {}
    for request in requests:
        tickets[engine.admit(engine.prepare(request))] = request
        doomed = engine.admit(engine.prepare(replace(ask("doomed", max_tokens=50), adapter=rng.choice(["one", "two"]))))
        for _ in range(rng.randint(0, 4)):
            found |= {event.ticket: event.generation for event in engine.step() if event.generation}
        engine.cancel(doomed)
    while engine.busy:
        found |= {event.ticket: event.generation for event in engine.step() if event.generation}
    for ticket, request in tickets.items():
        assert found[ticket].text == alone(request)


def test_a_shared_beginning_is_not_shared_between_adapters(folders: dict[str, Path]) -> None:
    """Keys and values of one adapter's prompt are never another's, however alike the prompts are."""
    engine = loaded(folders)
    request = ask(SHARED, max_tokens=12)
    found = {name: run_all(engine, [replace(request, adapter=name)])[0] for name in (None, "one", "two")}
    assert all(answer.cached_prompt_tokens == 0 for answer in found.values())
    assert len({answer.text for answer in found.values()}) == 3
    again = run_all(engine, [replace(request, adapter="two")])[0]
    assert again.cached_prompt_tokens > 0
    assert again.text == found["two"].text


def test_adapters_apply_to_choices_and_json(folders: dict[str, Path]) -> None:
    """Scored options and constrained JSON go through the request's adapter too."""
    engine = loaded(folders)
    choice, number = ask("go", ChoiceOutput(("red", "green", "blue"))), ask("go", JsonOutput({"type": "integer"}))
    both = [replace(choice, adapter=name) for name in (None, "one")]
    bare, tuned = run_all(engine, both)
    assert bare.scores != tuned.scores
    assert tuned.scores == pytest.approx(run_all(engine, [both[1]])[0].scores)
    assert json.loads(run_all(engine, [replace(number, adapter="two")])[0].text) is not None


def test_an_unknown_adapter_is_refused_and_the_others_go_on(folders: dict[str, Path]) -> None:
    """A request for an adapter that is not loaded fails alone."""
    engine = loaded(folders)
    with pytest.raises(RequestError, match="three"):
        engine.prepare(replace(ask("hi"), adapter="three"))
    assert run_all(engine, [replace(ask("hi", max_tokens=3), adapter="one")])[0].text


def _rewritten(folder: Path, out: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> Path:
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "adapter_config.json").read_text())
    weights = load_file(folder / "adapter_model.safetensors")
    change(config, weights)
    out.mkdir()
    (out / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, out / "adapter_model.safetensors")
    return out


def _rename(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    for key in list(weights):
        weights[key.replace("layers.", "blocks.")] = weights.pop(key)


def _narrow(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    for key in list(weights):
        weights[key] = weights[key][:, :1].clone()


def _silence(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    for key in weights:
        if "lora_B" in key:
            weights[key] = torch.zeros_like(weights[key])


def _whisper(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    for key in weights:
        weights[key] = weights[key] * 1e-9


def _halve(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    for key in [key for key in weights if "lora_A" in key]:
        del weights[key]


def _poison(_: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    weights[next(iter(weights))][0, 0] = float("nan")


def _dora(config: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    config["use_dora"] = True


def _ia3(config: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    config["peft_type"] = "IA3"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_rename, "no linear layer 'model.blocks"),
        (_narrow, "has shape"),
        (_silence, "all zeros"),
        (_whisper, "changes no output"),
        (_halve, "has no lora_A"),
        (_poison, "not finite"),
        (_dora, "use_dora is True"),
        (_ia3, "peft_type is 'IA3'"),
    ],
)
def test_an_adapter_that_would_do_nothing_or_something_else_is_refused(
    folders: dict[str, Path],
    tmp_path: Path,
    change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None],
    complaint: str,
) -> None:
    """An adapter whose keys do not match, that changes nothing, or that needs other mathematics never loads."""
    engine, broken = tiny_engine(), _rewritten(folders["one"], tmp_path / "broken", change)
    with pytest.raises(UsageError, match=complaint):
        engine.load_adapter("broken", broken)
    with pytest.raises(RequestError):
        engine.prepare(replace(ask("hi"), adapter="broken"))


def test_a_truncated_or_missing_file_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    """A damaged adapter is refused with the path of the file, and the engine goes on serving."""
    engine = tiny_engine()
    copy = _rewritten(folders["one"], tmp_path / "copy", lambda *_: None)
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UsageError, match="damaged"):
        engine.load_adapter("copy", copy)
    weights.unlink()
    with pytest.raises(UsageError, match="is missing"):
        engine.load_adapter("copy", copy)
    assert run_all(engine, [ask("hi", max_tokens=2)])
