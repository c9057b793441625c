"""The body of a chat completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from harness.serve.gateway.api_errors import invalid
from harness.serve.gateway.fields import Closed, parse
from harness.serve.gateway.formats import Format, options_in, output_of
from harness.serve.gateway.sampled import Sampled, seed_of
from harness.serve.gateway.served import AppRequest, DecodingOverrides
from harness.serve.protocol import GenerationRequest, Message, Role

# Each turn costs a model's template a little; a conversation of this length has outgrown any context.
MOST_MESSAGES = 4096
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class _Part(Closed):
    type: Literal["text"]
    text: str


class _Turn(Closed):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[_Part], Field(fail_fast=True, max_length=MOST_MESSAGES)]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def message(self) -> Message:
        return Message(_ROLES[self.role], self.text)


class _Signoff(Closed):
    trace: bool = False
    repeat: Annotated[int, Field(ge=0)] = 0


class ChatRequest(Sampled):
    """The body of ``POST /v1/chat/completions``.

    Beyond the fields of ``Sampled`` and OpenAI's: ``inputs`` (values of an app's prompt variables by name); ``signoff``
    (``trace``: report every step of an app; ``repeat``: number of the repeat); and the ``response_format``
    ``{"type": "choice", "options": [...]}``, which answers with the likeliest option and scores them all.
    """

    messages: Annotated[list[_Turn], Field(fail_fast=True, min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: int | None = None
    response_format: Format | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    inputs: dict[str, Any] | None = None
    signoff: _Signoff | None = None

    @property
    def answer_tokens(self) -> int | None:
        """The most tokens of one choice that the caller asked for, by either of the field's names."""
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def format(self) -> Format | None:
        """The format that the answer must have."""
        return self.response_format

    @property
    def trace(self) -> bool:
        """Whether every step of an app is reported."""
        return self.signoff is not None and self.signoff.trace

    def texts(self) -> Sequence[str]:
        """The text of every message, every text within ``inputs``, and the options of a choice."""
        return [*(turn.text for turn in self.messages), *_texts(self.inputs), *options_in(self.response_format)]

    def shown(self) -> str:
        """The message where there is one and nothing else; otherwise messages and inputs as JSON."""
        if len(self.messages) == 1 and not self.inputs:
            return self.messages[0].text
        messages = [{"role": turn.role, "content": turn.text} for turn in self.messages]
        return orjson.dumps({"messages": messages, "inputs": self.inputs or {}}).decode()

    @property
    def wants_logprobs(self) -> bool:
        """Whether the log-probability of every token was asked for."""
        return self.logprobs

    def for_model(self, seed: int, adapter: str | None = None) -> list[GenerationRequest]:
        """The calls of a bare model, one for each choice; ApiError for fields that only an app understands."""
        self.refuse(f"for apps; {self.model!r} is a model", inputs=self.inputs is not None, signoff=self.signoff)
        output, messages = output_of(self.response_format), tuple(turn.message() for turn in self.messages)
        wanted = self._logprobs()
        if self.ignore_eos and output.kind != "text":
            raise invalid("ignore_eos is for free text: what has a form ends where the form ends", "ignore_eos")
        if wanted is not None and output.kind == "choice":
            raise invalid("a choice has scores of its own: logprobs is for text and JSON", "logprobs")
        return [
            GenerationRequest(messages, self.decoding(seed_of(seed, index)), output, adapter, None, wanted)
            for index in range(self.n)
        ]

    def for_app(self, seed: int | None) -> AppRequest:
        """The call of an app; ApiError for what an app decides itself."""
        if any(_ROLES[turn.role] == "system" for turn in self.messages):
            raise invalid("an app has its own instructions: a system message cannot be sent to it", "messages")
        if self.response_format is not None:
            raise invalid("an app has its own output format: response_format is for models", "response_format")
        self.refuse(
            "for models, not for apps", logprobs=self.logprobs, logit_bias=self.logit_bias, ignore_eos=self.ignore_eos
        )
        self._logprobs()
        # Values out of range are found here, not in the middle of the app.
        self.decoding(seed or 0)
        extra = self.signoff or _Signoff()
        return AppRequest(
            messages=tuple(turn.message() for turn in self.messages),
            inputs=self.inputs or {},
            seed=seed,
            repeat=extra.repeat,
            trace=extra.trace,
            overrides=DecodingOverrides(**self.overridable()),
        )

    def overridable(self) -> dict[str, Any]:
        """The decoding fields; ApiError when one was sent under both of its names."""
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise invalid("max_tokens and max_completion_tokens mean the same: send one of them", "max_tokens")
        return super().overridable()

    def _logprobs(self) -> int | None:
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid("top_logprobs needs logprobs: true", "top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


def _texts(value: Any) -> list[str]:
    """Every text within plain data, found without recursion: its depth is the sender's choice."""
    found, todo = [], [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, list):
            todo += reversed(one)
        elif isinstance(one, dict):
            todo += reversed(one.values())
    return found


def parse_chat(body: bytes) -> ChatRequest:
    """The request in ``body``; raises ApiError (400) that names the first field at fault."""
    return parse(body, ChatRequest)
