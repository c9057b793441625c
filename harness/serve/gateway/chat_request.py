"""Reading the body of a chat completion: strict, closed, and every complaint names its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.serve.gateway.api_errors import ApiError, invalid
from harness.serve.gateway.served import AppRequest, DecodingOverrides
from harness.serve.protocol import (
    ChoiceOutput,
    Decoding,
    GenerationRequest,
    JsonOutput,
    Message,
    Output,
    Role,
    TextOutput,
)

MAX_BODY_BYTES = 4 * 2**20
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# Fields of OpenAI's API that would change the answer: ignoring one would be a silent lie.
_NOT_OFFERED = frozenset(
    (
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "metadata"),
        *("modalities", "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort", "service_tier"),
        *("store", "tool_choice", "tools", "top_logprobs", "verbosity", "web_search_options"),
    )
)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Part(_Closed):
    type: Literal["text"]
    text: str


class _Turn(_Closed):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(_ROLES[self.role], text)


class _StreamOptions(_Closed):
    include_usage: bool = False


class _TextFormat(_Closed):
    type: Literal["text"]


class _JsonFormat(_Closed):
    type: Literal["json_object"]


class _NamedSchema(_Closed):
    name: str = ""
    description: str = ""
    # A field called "schema" would hide a method of pydantic's base class.
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool = True


class _SchemaFormat(_Closed):
    type: Literal["json_schema"]
    json_schema: _NamedSchema


class _ChoiceFormat(_Closed):
    type: Literal["choice"]
    options: list[str]


_Format = Annotated[_TextFormat | _JsonFormat | _SchemaFormat | _ChoiceFormat, Field(discriminator="type")]


class _Signoff(_Closed):
    trace: bool = False
    repeat: Annotated[int, Field(ge=0)] = 0


class ChatRequest(_Closed):
    """The body of ``POST /v1/chat/completions``.

    Beyond OpenAI's fields: ``top_k``; ``inputs`` (values of an app's prompt variables by name); ``signoff``
    (``trace``: report every step of an app; ``repeat``: number of the repeat); and the ``response_format``
    ``{"type": "choice", "options": [...]}``, which answers with the likeliest option and scores them all.
    """

    model: str
    messages: Annotated[list[_Turn], Field(min_length=1)]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Literal[1] = 1
    user: str | None = None
    response_format: _Format | None = None
    inputs: dict[str, Any] | None = None
    signoff: _Signoff | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def for_model(self) -> GenerationRequest:
        """The call of a bare model; raises ApiError for fields that only an app understands."""
        for name, value in (("inputs", self.inputs), ("signoff", self.signoff)):
            if value is not None:
                raise invalid(f"{name} is for apps; {self.model!r} is a model", name)
        sent = {**self._sent(), "seed": self.seed}
        decoding = Decoding(**{name: value for name, value in sent.items() if value is not None})
        return GenerationRequest(tuple(turn.message() for turn in self.messages), decoding, self._output())

    def for_app(self) -> AppRequest:
        """The call of an app; raises ApiError for what an app decides itself."""
        if any(_ROLES[turn.role] == "system" for turn in self.messages):
            raise invalid("an app has its own instructions: a system message cannot be sent to it", "messages")
        if self.response_format is not None:
            raise invalid("an app has its own output format: response_format is for models", "response_format")
        sent = self._sent()
        Decoding(**{name: value for name, value in sent.items() if value is not None})
        extra = self.signoff or _Signoff()
        return AppRequest(
            messages=tuple(turn.message() for turn in self.messages),
            inputs=self.inputs or {},
            seed=self.seed,
            repeat=extra.repeat,
            trace=extra.trace,
            overrides=DecodingOverrides(**sent),
        )

    def _sent(self) -> dict[str, Any]:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise invalid("max_tokens and max_completion_tokens mean the same: send one of them", "max_tokens")
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        return {
            "max_tokens": self.max_tokens if self.max_tokens is not None else self.max_completion_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": None if stop is None else tuple(stop),
        }

    def _output(self) -> Output:
        wanted = self.response_format
        if isinstance(wanted, _ChoiceFormat):
            return ChoiceOutput(tuple(wanted.options))
        if isinstance(wanted, _SchemaFormat):
            return JsonOutput(wanted.json_schema.json_schema)
        return JsonOutput() if isinstance(wanted, _JsonFormat) else TextOutput()


def parse_chat(body: bytes) -> ChatRequest:
    """The request in ``body``; raises ApiError (400) that names the first field at fault."""
    try:
        # orjson refuses NaN, lone surrogates and nesting that would exhaust the stack.
        data = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise invalid(f"the body is not valid JSON: {problem}") from None
    if not isinstance(data, dict):
        raise invalid(f"the body must be a JSON object, not {type(data).__name__}")
    for name in data:
        if name not in ChatRequest.model_fields:
            reason = "is not supported" if name in _NOT_OFFERED else "is not a field of this API"
            raise invalid(f"{name!r} {reason}", name)
    try:
        return ChatRequest.model_validate({name: value for name, value in data.items() if value is not None})
    except ValidationError as problem:
        raise _complaint(problem.errors(include_url=False, include_context=False)) from None


def _complaint(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The error that lies deepest in the first field at fault: the branch of a union that came furthest."""
    first = [error for error in errors if error["loc"][:1] == errors[0]["loc"][:1]]
    error = max(first, key=lambda each: len(each["loc"]))
    # pydantic names the branches of a union by their type, which is no part of the body.
    steps = [step for step in error["loc"] if step != "str" and not str(step).startswith("list[")]
    where = ".".join(str(step) for step in steps)
    if error["type"] == "missing":
        return invalid(f"{where} is missing", where)
    shown = repr(error["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return invalid(f"{where}: {error['msg']}; got {shown}", where)
