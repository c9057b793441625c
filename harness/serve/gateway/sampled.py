"""What the bodies of both generating routes share: the model, how tokens are drawn, and how the answer comes."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from harness.serve.gateway.api_errors import invalid
from harness.serve.gateway.fields import Closed
from harness.serve.gateway.formats import Format
from harness.serve.gateway.served import AppRequest
from harness.serve.protocol import Decoding, GenerationRequest
from harness.store import seed_for

ModelName = Annotated[str, StringConstraints(min_length=1)]
User = Annotated[str, StringConstraints(max_length=512)]
# Looking at every entry of a larger one would hold up everybody else.
MOST_BIASES = 10_000


def _not_huge(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MOST_BIASES:
        message = f"it has {len(value)} entries, never more than {MOST_BIASES} are read"
        raise ValueError(message)
    return value


TokenId = Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")]
Texts = Annotated[list[str], Field(fail_fast=True)]


class StreamOptions(Closed):
    """``include_usage``: end with a chunk that counts tokens; ``continuous_usage_stats``: count in every chunk."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Sampled(Closed):
    """Fields of ``/v1/chat/completions`` and ``/v1/completions`` alike.

    Beyond OpenAI's: ``top_k``, and ``ignore_eos`` (write ``max_tokens`` tokens whatever they say, to measure speed).
    """

    model: ModelName
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | Texts | None = None
    n: Annotated[int, Field(ge=1)] = 1
    user: User | None = None
    logit_bias: Annotated[dict[TokenId, float], BeforeValidator(_not_huge)] | None = None
    ignore_eos: bool = False

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of a stream counts tokens, as far as they are counted."""
        return self.stream_options is not None and self.stream_options.continuous_usage_stats

    @property
    def answer_tokens(self) -> int | None:
        """The most tokens of one choice that the caller asked for."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...] | None:
        """The stop strings; None if the field was not sent."""
        return (self.stop,) if isinstance(self.stop, str) else None if self.stop is None else tuple(self.stop)

    @property
    def format(self) -> Format | None:
        """The format that the answer must have."""
        return None

    @property
    def prompts(self) -> int:
        """How many prompts there are; each is answered ``n`` times."""
        return 1

    @property
    def prompt_field(self) -> str:
        """The field that holds what the model reads."""
        return "messages"

    @property
    def sampled(self) -> bool:
        """Whether tokens are drawn by chance."""
        return bool(self.temperature)

    @abstractmethod
    def texts(self) -> Sequence[str]:
        """Every text that a model would read."""

    @abstractmethod
    def shown(self) -> str:
        """What was asked as one text, for the log of requests."""

    @property
    @abstractmethod
    def wants_logprobs(self) -> bool:
        """Whether the log-probability of every token was asked for."""

    @abstractmethod
    def for_model(self, seed: int, adapter: str | None = None) -> list[GenerationRequest]:
        """The calls of a bare model, one for each choice in order; ApiError for fields that only an app understands."""

    @abstractmethod
    def for_app(self, seed: int | None) -> AppRequest:
        """The call of an app for the first choice; ApiError for what an app decides itself."""

    def seeded(self) -> int:
        """The seed that was sent. Without one a draw is as good as any other, so it is taken from the system."""
        if self.seed is not None:
            return self.seed
        return secrets.randbits(62) if self.sampled else 0

    def decoding(self, seed: int) -> Decoding:
        """How tokens are drawn; RequestError for values outside their range."""
        sent = {**self.overridable(), "seed": seed, "ignore_eos": self.ignore_eos or None}
        bias = self.logit_bias or {}
        sent["logit_bias"] = tuple(sorted((int(token), value) for token, value in bias.items())) or None
        return Decoding(**{name: value for name, value in sent.items() if value is not None})

    def overridable(self) -> dict[str, Any]:
        """The decoding fields that may be sent to models and apps alike; None for those that were not."""
        return {
            "max_tokens": self.answer_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": self.stops,
        }

    def refuse(self, whom: str, **fields: Any) -> None:
        """ApiError that names the first of ``fields`` that was sent."""
        for name, value in fields.items():
            if value:
                raise invalid(f"{name} is {whom}", name)


def seed_of(seed: int, index: int) -> int:
    """The seed of one of several choices: the first has the seed itself, the others hashes of it."""
    return seed if index == 0 else seed_for(seed, "", "choice", index)
