"""The engine against the repository's real model, out of the user's cache or fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.serve.engine.hub import model_folder
from harness.serve.engine.loader import convert_gguf, load_transformers
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import ChoiceOutput, GenerationRequest, JsonOutput, Message
from harness.spec.models import Model
from harness.spec.yaml_file import load
from harness.store import fetch
from tests.conftest import USER_CACHE
from tests.serve.helpers import ask, generated_alone, run_all

pytestmark = [pytest.mark.slow, pytest.mark.network]

SYSTEM = Message("system", "You work for an online shop. Be brief and polite. " * 5)
QUESTIONS = (
    "What is the capital of France?",
    "My parcel has not arrived. " * 12,
    "Write a haiku about rain.",
    "Hi!",
    "List three fruits.",
    "Why is the sky blue? Explain it to a child.",
)


ROOT = Path(__file__).parents[2]


def _model() -> Model:
    model, problems = load(ROOT / "models" / "smollm2-135m" / "model.yaml", "model.yaml", Model)
    assert model is not None, problems
    return model


@pytest.fixture(scope="module")
def real() -> TransformersEngine:
    """The engine over the real model."""
    return load_transformers(model_folder(_model(), ROOT, USER_CACHE))


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Any]:
    """The same model, straight from transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_folder(_model(), ROOT, USER_CACHE)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_batched_answers_equal_lone_ones(real: TransformersEngine, reference: tuple[Any, Any]) -> None:
    """Greedy answers, cold and with a warm prompt beginning, equal transformers' own token for token."""
    plain = [ask(question, max_tokens=12 + 4 * place) for place, question in enumerate(QUESTIONS)]
    shared = [GenerationRequest((SYSTEM, *request.messages), request.decoding) for request in plain]
    expected = [generated_alone(*reference, request) for request in [*plain, *shared]]
    assert [found.text for found in run_all(real, [*plain, *shared])] == expected
    again = run_all(real, shared)
    assert [found.text for found in again] == expected[len(plain) :]
    assert all(found.cached_prompt_tokens > 40 for found in again)


def test_it_knows_a_capital(real: TransformersEngine) -> None:
    """A choice whose answer any model knows is answered."""
    (found,) = run_all(real, [ask("What is the capital of France?", ChoiceOutput(("Berlin", "Paris", "New York")))])
    assert found.text == "Paris"


def test_json_parses(real: TransformersEngine) -> None:
    """JSON of a schema parses whatever the model would have said."""
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    wanted = JsonOutput({**schema, "additionalProperties": False})
    answers = run_all(real, [ask(question, wanted, max_tokens=60) for question in QUESTIONS])
    assert all(orjson.loads(found.text).keys() == {"city"} for found in answers if found.finish_reason == "stop")
    assert any(found.finish_reason == "stop" for found in answers)


def test_a_gguf_becomes_a_folder(tmp_path: Path) -> None:
    """A converted GGUF file loads and answers."""
    model = _model()
    gguf = fetch(str(model.source), str(model.sha256), cache=USER_CACHE, root=ROOT)
    folder = convert_gguf(gguf, tmp_path / "model")
    (found,) = run_all(load_transformers(folder), [ask("Say hello.", max_tokens=8)])
    assert found.text


def test_the_chat_template_names_the_end_of_turn(real: TransformersEngine, reference: tuple[Any, Any]) -> None:
    """The token that ends every scored option is the one that the chat template puts behind an answer."""
    _, tokenizer = reference
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]
    rendered = tokenizer.apply_chat_template(turns, tokenize=False)
    behind = tokenizer(rendered.rsplit("Yes", 1)[1], add_special_tokens=False)["input_ids"][0]
    assert real._ends[0] == behind == tokenizer.eos_token_id
