"""The body of a completion: raw text that a model continues, without a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import orjson
from pydantic import Field

from harness.serve.gateway.api_errors import invalid
from harness.serve.gateway.sampled import Sampled, seed_of
from harness.serve.gateway.served import AppRequest
from harness.serve.protocol import GenerationRequest


class CompletionRequest(Sampled):
    """The body of ``POST /v1/completions``; ``prompt`` is one text or several, tokens are not taken."""

    prompt: str | Annotated[list[str], Field(fail_fast=True, min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return 1 if isinstance(self.prompt, str) else len(self.prompt)

    @property
    def prompt_field(self) -> str:
        """The field that holds what the model reads."""
        return "prompt"

    def texts(self) -> Sequence[str]:
        """The prompts."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def shown(self) -> str:
        """The prompt, or a JSON list of them."""
        return self.prompt if isinstance(self.prompt, str) else orjson.dumps(self.prompt).decode()

    @property
    def wants_logprobs(self) -> bool:
        """Whether the log-probability of every token was asked for."""
        return self.logprobs is not None

    def for_model(self, seed: int, adapter: str | None = None) -> list[GenerationRequest]:
        """The calls of a bare model: all choices of the first prompt, then those of the next."""
        if not all(self.texts()):
            raise invalid("prompt is empty; there must be a text to continue", "prompt")
        decodings = [self.decoding(seed_of(seed, index)) for index in range(self.n)]
        return [
            GenerationRequest((), decoding, adapter=adapter, prompt=text, logprobs=self.logprobs)
            for text in self.texts()
            for decoding in decodings
        ]

    def for_app(self, seed: int | None) -> AppRequest:
        """Never: an app answers a conversation."""
        raise invalid(f"{self.model!r} is an app: it answers POST /v1/chat/completions", "model")
