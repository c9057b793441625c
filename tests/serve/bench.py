"""A gateway whose parts remember what they were asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.testclient import TestClient

from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.parts import Arm, Parts
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import LoadedModel
from harness.serve.gateway.turn import Principal, Turn
from harness.store import digest_of
from tests.serve.gateways import MODEL, Echo, Spelling, SureEcho, Watcher


@dataclass
class Shelf:
    """A response cache in memory that remembers what it was asked."""

    kept: dict[str, bytes] = field(default_factory=dict)
    requests: list[Mapping[str, object]] = field(default_factory=list)

    def key(self, tenant: str, digest: str, request: Mapping[str, object]) -> str:
        """A digest over all three."""
        self.requests.append(request)
        return digest_of([tenant, digest, dict(request)])

    def get(self, key: str) -> bytes | None:
        """What was put."""
        return self.kept.get(key)

    def put(self, key: str, answer: bytes, request: Mapping[str, object]) -> None:
        """Keep it."""
        assert digest_of(dict(request))
        self.kept[key] = answer


@dataclass
class Purse:
    """A limiter that remembers what was reserved and settled."""

    refusal: ApiError | None = None
    admitted: list[str] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    def admit(self, principal: Principal) -> Purse:
        """Take note."""
        if self.refusal is not None:
            raise self.refusal
        self.admitted.append(principal.key_id)
        return self

    def reserve(self, tokens: int) -> None:
        """Take note."""
        self.reserved.append(tokens)

    def settle(self, tokens: int) -> None:
        """Take note."""
        self.settled.append(tokens)


@dataclass
class Split:
    """Traffic whose arm a test chooses."""

    found: Arm | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def arm(self, app: str, user: str, request: str = "") -> Arm | None:
        """The chosen arm, for the app ``echo``."""
        assert request
        self.asked.append((app, user))
        return self.found if app == "echo" else None


@dataclass
class Bench:
    """A gateway with parts that remember."""

    engine: Spelling = field(default_factory=Spelling)
    shelf: Shelf = field(default_factory=Shelf)
    purse: Purse = field(default_factory=Purse)
    split: Split = field(default_factory=Split)
    watcher: Watcher = field(default_factory=Watcher)
    apps: dict[str, Any] = field(default_factory=lambda: {"echo": SureEcho(), "plain": Echo("plain")})
    cache: bool = True

    def app(self) -> Any:
        """The gateway."""
        models = {
            "m": LoadedModel("m", MODEL, self.engine),
            "other": LoadedModel("other", "e" * 64, self.engine),
            "far": LoadedModel("far", "f" * 64, self.engine, pinned=False),
        }
        cache = self.shelf if self.cache else None
        parts = Parts(limiter=self.purse, cache=cache, traffic=self.split, observers=(self.watcher,))
        return create_app(models, self.apps, parts)

    def client(self) -> TestClient:
        """A client of it."""
        return TestClient(self.app())

    @property
    def turn(self) -> Turn:
        """The only turn so far."""
        (turn,) = self.watcher.turns
        return turn
