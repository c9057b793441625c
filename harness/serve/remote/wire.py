"""A request as an OpenAI-compatible endpoint reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.serve.protocol import ChoiceOutput, GenerationRequest, JsonOutput, Output

CHAT, COMPLETIONS = "/chat/completions", "/completions"
CHOICE = "choice"
"""The property under which a foreign endpoint writes the option that it chose."""


def path_of(request: GenerationRequest) -> str:
    """The route below ``/v1`` that answers ``request``."""
    return CHAT if request.prompt is None else COMPLETIONS


def request_body(request: GenerationRequest, model_id: str, *, own: bool = False) -> dict[str, Any]:
    """The body for ``request``. ``own``: the server is a gateway of this project, which ranks the options of a choice.

    To others a greedy request says nothing of how to draw, because nothing is drawn: many refuse what they could
    ignore.
    """
    decoding = request.decoding
    body: dict[str, Any] = {
        "model": model_id,
        **_question(request),
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
    }
    drawn = own or decoding.temperature > 0
    optional: dict[str, Any] = {
        "seed": decoding.seed if drawn else None,
        "top_p": decoding.top_p if drawn and decoding.top_p < 1 else None,
        "top_k": (decoding.top_k or None) if drawn else None,
        "stop": list(decoding.stop) or None,
        "logit_bias": {str(token): bias for token, bias in decoding.logit_bias} or None,
        "response_format": _format(request.output, own=own),
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    return body | _logprobs(request)


def streamed(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same request, to be answered piece by piece with the tokens counted at the end."""
    return {**body, "stream": True, "stream_options": {"include_usage": True}}


def _question(request: GenerationRequest) -> dict[str, Any]:
    if request.prompt is not None:
        return {"prompt": request.prompt}
    return {"messages": [{"role": message.role, "content": message.content} for message in request.messages]}


def _logprobs(request: GenerationRequest) -> dict[str, Any]:
    if request.logprobs is None:
        return {}
    if request.prompt is not None:
        return {"logprobs": request.logprobs}
    # Some servers send none at all unless alternatives are asked for; what is too much is left out again.
    return {"logprobs": True, "top_logprobs": max(1, request.logprobs)}


def _format(output: Output, *, own: bool) -> dict[str, Any] | None:
    if isinstance(output, JsonOutput):
        return json_format(output.schema)
    if not isinstance(output, ChoiceOutput):
        return None
    if own:
        return {"type": "choice", "options": list(output.options)}
    return json_format(choice_schema(output.options))


def choice_schema(options: tuple[str, ...]) -> dict[str, Any]:
    """A schema that allows nothing but the options; its root is an object, because some servers take no other."""
    return {
        "type": "object",
        "properties": {CHOICE: {"type": "string", "enum": list(options)}},
        "required": [CHOICE],
        "additionalProperties": False,
    }


def json_format(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ``response_format`` for JSON that obeys ``schema``, or for any JSON object when it is None."""
    if schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}
