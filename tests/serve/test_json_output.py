"""JSON output obeys its schema whatever the model would rather say."""

from __future__ import annotations

from typing import Any

import jsonschema
import orjson
import pytest

from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import JsonOutput, RequestError
from tests.serve.helpers import ask, run_all

TRIAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["refund", "delivery", "other"]},
        "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
    },
    "required": ["intent", "urgency", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_output_obeys_the_schema(engine: TransformersEngine, temperature: float) -> None:
    """Whatever a random model draws, finished text parses and satisfies the schema."""
    requests = [
        ask("classify " * n, JsonOutput(TRIAGE), max_tokens=400, temperature=temperature, seed=n) for n in range(1, 9)
    ]
    answers = run_all(engine, requests)
    assert all(found.finish_reason == "stop" for found in answers)
    for found in answers:
        jsonschema.validate(orjson.loads(found.text), TRIAGE)


def test_without_a_schema_it_is_an_object(engine: TransformersEngine) -> None:
    """Asked for any JSON, the model can write nothing but an object."""
    answers = run_all(engine, [ask("go", JsonOutput(), max_tokens=300, temperature=1.0, seed=n) for n in range(6)])
    finished = [found for found in answers if found.finish_reason == "stop"]
    assert finished
    assert all(isinstance(orjson.loads(found.text), dict) for found in finished)


def test_cut_output_says_so(engine: TransformersEngine) -> None:
    """JSON that max_tokens cut off has finish reason length."""
    (found,) = run_all(engine, [ask("go", JsonOutput(TRIAGE), max_tokens=5)])
    assert (found.finish_reason, found.completion_tokens) == ("length", 5)


def test_complete_output_needs_no_further_token(engine: TransformersEngine) -> None:
    """The answer ends with its closing bracket: no end-of-turn token is drawn after it."""
    (found,) = run_all(engine, [ask("go", JsonOutput({"const": "ab"}), max_tokens=50)])
    assert (found.text, found.completion_tokens) == ('"ab"', 4)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/missing"},
        {"$ref": "https://example.org/schema.json"},
        {"type": "object", "properties": 3},
        {"not": {"type": "string"}},
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused(engine: TransformersEngine, schema: dict[str, Any]) -> None:
    """An invalid or unsupported schema is refused at admission and never ignored."""
    with pytest.raises(RequestError, match="schema") as refused:
        engine.admit(engine.prepare(ask("go", JsonOutput(schema))))
    assert refused.value.param == "response_format"


def test_stop_strings_do_not_mix_with_json(engine: TransformersEngine) -> None:
    """A stop string would cut JSON, so asking for both is refused."""
    with pytest.raises(RequestError, match="stop"):
        engine.admit(engine.prepare(ask("go", JsonOutput(), stop=("}",))))
