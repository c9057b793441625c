"""Reading a body: strict, closed, and every complaint names its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.serve.gateway.api_errors import ApiError, invalid

_SHOWN = 60
# Fields of OpenAI's API that would change the answer: ignoring one would be a silent lie.
_NOT_OFFERED = frozenset(
    (
        *("audio", "best_of", "echo", "frequency_penalty", "function_call", "functions", "logprobs", "metadata"),
        *("modalities", "moderation", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key"),
        *("prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier", "service_tier"),
        *("store", "suffix", "tool_choice", "tools", "top_logprobs", "verbosity", "web_search_options"),
    )
)
# Values that ask for nothing. Many clients send them unasked, and doing nothing is what they want.
_ASKS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "parallel_tool_calls": (False,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
}


class Closed(BaseModel):
    """Unknown fields, values of another type, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


BodyT = TypeVar("BodyT", bound=Closed)


def parse(body: bytes, kind: type[BodyT]) -> BodyT:
    """``body`` as ``kind``; raises ApiError (400) that names the first field at fault."""
    try:
        # orjson refuses NaN, lone surrogates and nesting that would exhaust the stack.
        data = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise invalid(f"the body is not valid JSON: {problem}") from None
    if not isinstance(data, dict):
        raise invalid(f"the body must be a JSON object, not {type(data).__name__}")
    try:
        return kind.model_validate({name: value for name, value in data.items() if _counts(name, value, kind)})
    except ValidationError as problem:
        raise _complaint(problem.errors(include_url=False, include_context=False), data) from None


def _counts(name: str, value: Any, kind: type[Closed]) -> bool:
    """Whether the field says anything; raises ApiError for a field that this route does not have."""
    if name in kind.model_fields:
        return value is not None
    if any(value is nothing or _same(value, nothing) for nothing in _ASKS_NOTHING.get(name, ())):
        return False
    reason = "is not supported" if name in _NOT_OFFERED else "is not a field of this API"
    raise invalid(f"{name[:_SHOWN]!r} {reason}", name[:_SHOWN])


def _same(value: Any, nothing: Any) -> bool:
    # JSON's true is 1 in Python.
    return not isinstance(value, bool) and bool(value == nothing)


def _complaint(errors: Sequence[Mapping[str, Any]], data: Any) -> ApiError:
    """The error that lies deepest in the first field at fault: the branch of a union that came furthest."""
    first = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    # A value of the wrong type for one branch may be what another branch found wrong in itself.
    error = max(first, key=lambda each: (len(each["loc"]), not each["type"].endswith("_type")))
    where = ".".join(_path(error["loc"], data, missing=error["type"] == "missing"))[:200]
    if error["type"] == "missing":
        return invalid(f"{where} is missing", where)
    if error["type"] == "extra_forbidden":
        return invalid(f"{where} is not a field of this API", where)
    shown = repr(error["input"])
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
    return invalid(f"{where}: {error['msg']}; got {shown}", where)


def _path(steps: Sequence[Any], data: Any, *, missing: bool) -> list[str]:
    """The steps that lead through ``data``: pydantic also names the branches of a union, which no caller knows."""
    path = []
    for place, step in enumerate(steps):
        if step in data if isinstance(data, dict) else _within(step, data):
            data = data[step]
        elif not (missing and place == len(steps) - 1):
            continue
        path.append(str(step))
    return path


def _within(step: Any, data: Any) -> bool:
    return isinstance(data, list) and isinstance(step, int) and step < len(data)
