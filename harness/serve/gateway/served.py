"""What the gateway offers under a name: models, which answer a conversation, and apps, which run their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from harness.serve.engine.async_engine import Generator
from harness.serve.protocol import Delta, FinishReason, Message


class ServedModel(Protocol):
    """A model under a name. The engine may be loaded by the first call of ``engine``."""

    @property
    def name(self) -> str:
        """What callers put in the field ``model``."""
        ...

    @property
    def digest(self) -> str:
        """The content digest of the model."""
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
        """Run all steps; raises RequestError for a request that cannot be served."""
        ...


@runtime_checkable
class StreamingApp(Protocol):
    """A ``ServedApp`` that can also hand out its last step's text while it is written."""

    def stream(self, request: AppRequest) -> AsyncIterator[Delta | AppResponse]:
        """Pieces of the last step's text, then the whole response."""
        ...
