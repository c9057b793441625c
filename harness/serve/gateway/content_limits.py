"""What one request may ask for, found before anything costly is done with it."""

from __future__ import annotations

from typing import Any

import orjson

from harness.serve.gateway.api_errors import ApiError, invalid
from harness.serve.gateway.formats import options_in, schema_in
from harness.serve.gateway.sampled import Sampled
from harness.serve.protocol import Decoding
from harness.spec.serving import Limits

# More characters than this a token are no text in any language; the engine counts exactly, but only after reading.
_CHARACTERS_A_TOKEN = 8
# The other way round: what a text is counted as before it was read.
_TYPICAL_CHARACTERS_A_TOKEN = 4
_STOP_CHARACTERS = 256
# Each is compared with every other: 400 of them keep the compiler busy for a minute (llguidance 1.9).
_PATTERN_PROPERTIES = 32
_DEFAULT_TOKENS = Decoding().max_tokens


def estimated_tokens(request: Sampled, written: int | None = None) -> int:
    """About how many tokens a request will use: its texts, and ``written`` tokens (or what it asks for) a choice."""
    read = sum(len(text) for text in request.texts()) // _TYPICAL_CHARACTERS_A_TOKEN + 1
    return read + (written or request.answer_tokens or _DEFAULT_TOKENS) * request.n * request.prompts


def check_content(request: Sampled, limits: Limits) -> None:
    """ApiError (400) that names the first field that asks for more than is allowed."""
    _check_prompt(request, limits)
    _check_answer(request, limits)
    stops = request.stops or ()
    if len(stops) > limits.stop_strings:
        raise invalid(f"stop has {len(stops)} strings; at most {limits.stop_strings} are allowed", "stop")
    if any(len(stop) > _STOP_CHARACTERS for stop in stops):
        raise invalid(f"a stop string is longer than {_STOP_CHARACTERS} characters", "stop")
    if len(request.logit_bias or ()) > limits.logit_biases:
        count = len(request.logit_bias or ())
        raise invalid(f"logit_bias has {count} entries; at most {limits.logit_biases} are allowed", "logit_bias")
    _check_format(request, limits)


def _check_prompt(request: Sampled, limits: Limits) -> None:
    most = limits.prompt_tokens * _CHARACTERS_A_TOKEN
    count = sum(len(text) for text in request.texts())
    if count > most:
        message = (
            f"the prompt has {count} characters; {limits.prompt_tokens} tokens are allowed, at most {most} characters"
        )
        raise ApiError(400, message, param=request.prompt_field, code="prompt_too_long")


def _check_answer(request: Sampled, limits: Limits) -> None:
    choices = request.n * request.prompts
    if choices > limits.choices:
        each = f" for each of {request.prompts} prompts" if request.prompts > 1 else ""
        raise invalid(f"n is {request.n}{each}; at most {limits.choices} choices are allowed", "n")
    tokens = request.answer_tokens or _DEFAULT_TOKENS
    if tokens * choices > limits.answer_tokens:
        message = f"{choices} choices of {tokens} tokens" if choices > 1 else f"max_tokens is {tokens}"
        raise invalid(f"{message}; at most {limits.answer_tokens} tokens are allowed in all", "max_tokens")


def _check_format(request: Sampled, limits: Limits) -> None:
    sent = schema_in(request.format)
    if sent is not None:
        field, schema = sent
        check_schema(schema, limits, field)
    options = sum(len(option) for option in options_in(request.format))
    if options > limits.schema_bytes:
        message = f"the options have {options} characters together; at most {limits.schema_bytes} are allowed"
        raise invalid(message, "response_format.options")


def check_schema(schema: Any, limits: Limits, field: str) -> None:
    """ApiError for a schema that is too large or nested too deeply, without recursion and before it is compiled."""
    level, depth, patterns = [schema], 0, 0
    while level:
        depth += 1
        patterns += sum(_named_by_pattern(one) for one in level)
        if patterns > _PATTERN_PROPERTIES:
            raise invalid(f"{field} names properties by more than {_PATTERN_PROPERTIES} patterns", field)
        if depth > limits.schema_depth:
            raise invalid(f"{field} is nested more than {limits.schema_depth} levels deep", field)
        level = [inner for one in level for inner in _inside(one)]
    size = len(orjson.dumps(schema))
    if size > limits.schema_bytes:
        raise invalid(f"{field} has {size} bytes; at most {limits.schema_bytes} are allowed", field)


def _named_by_pattern(value: Any) -> int:
    found = value.get("patternProperties") if isinstance(value, dict) else None
    return len(found) if isinstance(found, dict) else 0


def _inside(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in inner if isinstance(each, dict | list)]
