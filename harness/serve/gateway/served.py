"""What the gateway offers under a name: models, which answer a conversation, and apps, which run their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from harness.errors import SignoffError
from harness.serve.engine.async_engine import Generator
from harness.serve.protocol import Delta, FinishReason, Message

Trouble = Literal["failed", "timeout", "unreachable"]


class ServedModel(Protocol):
    """A model, or an adapter on one, under a name. The engine may be loaded by the first call of ``engine``."""

    @property
    def name(self) -> str:
        """The stable name under which the model is listed."""
        ...

    @property
    def digest(self) -> str:
        """The content digest of what answers: of the model, or of the adapter together with its base."""
        ...

    @property
    def pinned(self) -> bool:
        """Whether the bytes behind the name are known, so that a seed fixes the answer."""
        ...

    @property
    def parent(self) -> str | None:
        """The name of the base model, for an adapter."""
        ...

    @property
    def adapter(self) -> str | None:
        """What ``GenerationRequest.adapter`` must hold, for an adapter."""
        ...

    async def engine(self) -> Generator:
        """The engine that answers, loaded when it is first asked for."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A ``ServedModel`` whose engine runs already."""

    name: str
    digest: str
    loaded: Generator
    pinned: bool = True
    parent: str | None = None
    adapter: str | None = None

    async def engine(self) -> Generator:
        """The engine itself."""
        return self.loaded


@dataclass(frozen=True, slots=True)
class DecodingOverrides:
    """Decoding fields that the caller sent; None means that the app's own value holds."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] | None = None

    def __bool__(self) -> bool:
        """True when at least one field is overridden, so that the app's digest no longer describes the call."""
        return any(getattr(self, name) is not None for name in self.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class AppRequest:
    """One call of an app. ``seed`` None: the app's own. ``inputs`` bind prompt variables by name.

    ``trace`` asks for what every step did; ``repeat`` numbers the repeats of one case.
    """

    messages: tuple[Message, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    repeat: int = 0
    trace: bool = False
    overrides: DecodingOverrides = field(default_factory=DecodingOverrides)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens read and written by all model calls of one answer."""

    prompt: int = 0
    completion: int = 0
    cached_prompt: int = 0


@dataclass(frozen=True, slots=True)
class AppResponse:
    """What an app answered. ``digest`` is the effective one: another than the app's own if decoding was overridden.

    ``steps`` (plain JSON data by step id) is sent to callers who asked for a trace.
    """

    text: str
    digest: str
    tokens: Tokens = field(default_factory=Tokens)
    steps: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: FinishReason = "stop"


class ServedApp(Protocol):
    """An app under a name."""

    @property
    def name(self) -> str:
        """What callers put in the field ``model``."""
        ...

    @property
    def digest(self) -> str:
        """The content digest of the app as it is reviewed."""
        ...

    async def respond(self, request: AppRequest) -> AppResponse:
        """Run all steps; RequestError for a request that cannot be served, BrokenStepError for a step that broke."""
        ...


@runtime_checkable
class StreamingApp(Protocol):
    """A ``ServedApp`` that can also hand out its last step's text while it is written."""

    def stream(self, request: AppRequest) -> AsyncIterator[Delta | AppResponse]:
        """Pieces of the last step's text, then the whole response."""
        ...


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is certain of an answer before it is computed.

    ``digest`` is the effective one; ``repeatable`` says that the same request has the same answer; ``tokens`` bounds
    what its model calls may write.
    """

    digest: str
    repeatable: bool
    tokens: int


@runtime_checkable
class ForeseeableApp(Protocol):
    """A ``ServedApp`` that knows these things. Of any other app no answer is kept."""

    def forecast(self, request: AppRequest) -> Forecast:
        """What is certain of the answer to ``request``; RequestError if it cannot be served."""
        ...


class BrokenStepError(SignoffError):
    """A step of an app broke. The message holds the step's name; ``reason`` is for the log and no caller's business."""

    def __init__(self, app: str, step: str, trouble: Trouble, reason: str) -> None:
        what = {"failed": "failed", "timeout": "did not answer in time", "unreachable": "could not be reached"}[trouble]
        super().__init__(f"app {app!r}: step {step!r} {what}")
        self.step, self.trouble, self.reason = step, trouble, reason
