"""One request at the gateway: who asked, what answered, how long it took; all that is told of it is told from here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.serve.gateway.served import Tokens

Route = Literal["chat", "completions", "embeddings"]
CacheState = Literal["off", "hit", "miss", "bypass"]
Outcome = Literal["ok", "refused", "limited", "failed", "timeout", "cancelled"]
Role = Literal["user", "operator", "admin"]

ANYTHING = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may ask for; None means the server's own limit. Minutes are sliding windows."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is behind a request. ``key_id`` names the key without giving it away; ``models`` may hold ``*``."""

    key_id: str
    role: Role = "user"
    models: frozenset[str] = ANYTHING
    limits: KeyLimits = field(default_factory=KeyLimits)

    def may_call(self, model: str) -> bool:
        """Whether the key was given this app or model."""
        return "*" in self.models or model in self.models


NOBODY = Principal("anonymous")
DEVELOPER = Principal("development", role="admin")


@dataclass(slots=True)
class Turn:
    """What is known of one request, filled as it goes; observers read it once it is over.

    Texts (``input``, ``output``) are as the caller sent and got them: whoever keeps them anonymises them first.
    Durations are seconds from ``started`` (``time.perf_counter``); None means that it did not come so far.
    """

    id: str
    route: Route
    principal: Principal = NOBODY
    received: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)
    asked: str = ""
    """The value of the field ``model``."""
    app: str = ""
    """The app that answers; empty for a bare model."""
    model: str = ""
    """The bare model that answers; empty for an app."""
    arm: str = ""
    """The arm of ``traffic.yaml`` that answers; empty where no traffic is split."""
    assigned: str = ""
    """How it came to that arm (``Arm.by``)."""
    shadow: bool = False
    """Whether nobody was shown this answer."""
    shadow_of: str = ""
    """For a shadow: the id of the request that was answered."""
    adapter: str = ""
    digest: str = ""
    stream: bool = False
    user: str = ""
    """The field ``user``: whose requests stay on one arm. Anonymised before it is kept."""
    response_id: str = ""
    """The ``id`` in the answer's body, to which feedback refers."""
    traceparent: str = ""
    """The caller's W3C header of that name, as it came."""
    cache: CacheState = "off"
    input: str = ""
    output: str = ""
    steps: Mapping[str, Any] = field(default_factory=dict)
    """What each step of an app did (``StepResult.as_trace``)."""
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    tokens: Tokens = field(default_factory=Tokens)
    finish_reason: str = ""
    queue_s: float | None = None
    """How long the request waited for a place in the engine."""
    first_s: float | None = None
    """When the first non-empty piece of the answer was ready."""
    total_s: float | None = None
    outcome: Outcome = "ok"
    status: int = 200
    error: str = ""
    """The error's message as the caller saw it."""

    def elapsed(self) -> float:
        """Seconds since the request came in."""
        return time.perf_counter() - self.started

    def first_piece(self) -> None:
        """Note the first piece of the answer; later calls change nothing."""
        if self.first_s is None:
            self.first_s = self.elapsed()

    def end(self, outcome: Outcome, status: int, error: str = "") -> None:
        """Note how it ended."""
        self.outcome, self.status, self.error = outcome, status, error
        self.total_s = self.elapsed()

    @property
    def seconds_per_token(self) -> float | None:
        """Time per output token after the first, ``(total - first) / (tokens - 1)``; None below two tokens."""
        if self.first_s is None or self.total_s is None or self.tokens.completion < 2:
            return None
        return (self.total_s - self.first_s) / (self.tokens.completion - 1)
