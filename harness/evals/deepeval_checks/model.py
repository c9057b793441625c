"""deepeval's model is a model of this repository: every question goes through our asker, every answer has its form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from harness.evals.checks.subject import shown
from harness.serve.protocol import Decoding, Generation, GenerationRequest, JsonOutput, Message, TextOutput
from harness.spec.models import Model

Ask = Callable[[GenerationRequest], Awaitable[Generation]]
# What a small model fills without end under a grammar: lists and sentences get one.
_LONGEST_TEXT = 400
_MOST_ITEMS = 12
# A shorter text may be the right answer and the example's at the same time.
_WORDS = 4


class UnreadableError(Exception):
    """A model's answer that is not of the form that a metric asked for."""


def judging_model(model: Model, ask: Ask, answer_tokens: int) -> Any:
    """A ``DeepEvalBaseLLM`` that asks ``model`` through ``ask``; answers to a schema are held to it while written.

    It raises what ``ask`` raises, and UnreadableError for an answer that was cut off or is of another form.
    """
    from deepeval.models import DeepEvalBaseLLM

    class RepositoryModel(DeepEvalBaseLLM):  # type: ignore[misc]
        def load_model(self, *_: Any, **__: Any) -> Any:
            return None

        def get_model_name(self, *_: Any, **__: Any) -> str:
            return model.name

        def generate(self, prompt: Any, schema: type[BaseModel] | None = None) -> Any:
            return asyncio.run(self.a_generate(prompt, schema=schema))

        async def a_generate(self, prompt: Any, schema: type[BaseModel] | None = None) -> Any:
            if not isinstance(prompt, str):
                raise UnreadableError("the metric asks about pictures or sound; models of this project read text")
            output = TextOutput() if schema is None else JsonOutput(bounded(schema, pinned=model.pinned))
            decoding = Decoding(max_tokens=answer_tokens)
            generation = await ask(GenerationRequest((Message("user", prompt),), decoding, output))
            return generation.text if schema is None else _read(generation, schema, prompt)

    return RepositoryModel(model.name)


def _read(generation: Generation, schema: type[BaseModel], prompt: str) -> BaseModel:
    try:
        answer = schema.model_validate_json(generation.text)
    except ValidationError as error:
        cut = generation.finish_reason == "length"
        why = "was cut off by answer_tokens" if cut else f"is no {schema.__name__}"
        message = f"the model's answer {why}: {shown(generation.text)}"
        raise UnreadableError(message) from error
    # deepeval's questions hold an example of the answer, score included, which a weak model repeats word for word.
    if _copied(orjson.loads(generation.text), prompt):
        raise UnreadableError(f"the model repeated the example in the question: {shown(generation.text)}")
    return answer


def _copied(answer: Any, prompt: str) -> bool:
    """Whether ``answer`` stands in ``prompt`` as JSON and says at least a few words."""
    texts = answer.values() if isinstance(answer, dict) else ()
    if not any(isinstance(text, str) and len(text.split()) >= _WORDS for text in texts):
        return False
    decoder, place = json.JSONDecoder(), prompt.find("{")
    while place >= 0:
        try:
            if decoder.raw_decode(prompt, place)[0] == answer:
                return True
        except ValueError:
            pass
        place = prompt.find("{", place + 1)
    return False


def bounded(schema: type[BaseModel], *, pinned: bool) -> Mapping[str, Any]:
    """The JSON Schema of ``schema``, closed as endpoints require it; for our own engine every list and text ends."""
    made: Mapping[str, Any] = _closed(schema.model_json_schema(), pinned=pinned)
    return made


def _closed(node: Any, *, pinned: bool) -> Any:
    if isinstance(node, list):
        return [_closed(item, pinned=pinned) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _closed(value, pinned=pinned) for name, value in node.items() if name not in ("default", "title")}
    kind = made.get("type")
    if kind == "object" and "properties" in made:
        made |= {"additionalProperties": False, "required": list(made["properties"])}
    if pinned and kind == "string" and "enum" not in made and "const" not in made:
        made.setdefault("maxLength", _LONGEST_TEXT)
    if pinned and kind == "array":
        made.setdefault("maxItems", _MOST_ITEMS)
    return made
