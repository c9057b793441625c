"""What a gateway is put together from besides models and apps: each part is one small protocol with a plain default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.serve.gateway.turn import DEVELOPER, Principal, Turn


class Access(Protocol):
    """Says who is behind a request."""

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """The principal of the key in ``headers`` (lower-case names); ApiError 401 for a missing or wrong one."""
        ...


class Reservation(Protocol):
    """A place that a request holds until it is over."""

    def settle(self, tokens: int) -> None:
        """Give the place back, and correct the reserved estimate by what was used; repeated calls do nothing."""
        ...


class Limiter(Protocol):
    """Holds every key to its limits."""

    def admit(self, principal: Principal, tokens: int, *, stream: bool) -> Reservation:
        """Reserve one request of about ``tokens`` tokens; ApiError 429 with Retry-After when it is too much."""
        ...


class ResponseCache(Protocol):
    """Keeps whole answers of deterministic requests. Keys and values hold nothing that identifies a person."""

    def key(self, tenant: str, digest: str, request: Mapping[str, object]) -> str:
        """The key of one canonical request."""
        ...

    def get(self, key: str) -> bytes | None:
        """The kept answer, None if there is none (or it cannot be trusted)."""
        ...

    def put(self, key: str, answer: bytes) -> None:
        """Keep an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """Where one user's request to an app goes: ``serves`` answers, ``shadows`` are called as well and never shown."""

    name: str
    serves: str
    shadows: tuple[str, ...] = ()


class Traffic(Protocol):
    """Splits the users of an app between its variants."""

    def arm(self, app: str, user: str) -> Arm | None:
        """The arm of this user, the same at every call; None when the app's traffic is not split."""
        ...


class Observer(Protocol):
    """Is told of every request once, when it is over. Must not raise and must not block."""

    def observe(self, turn: Turn) -> None:
        """Take note of a finished request."""
        ...


class _Open:
    def identify(self, headers: Mapping[str, str]) -> Principal:
        return DEVELOPER


class _Place:
    def settle(self, tokens: int) -> None:
        pass


class _Unlimited:
    def admit(self, principal: Principal, tokens: int, *, stream: bool) -> Reservation:
        return _Place()


class _OneArm:
    def arm(self, app: str, user: str) -> Arm | None:
        return None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one gateway. The defaults ask for no key, set no limit, split nothing and keep nothing."""

    access: Access = field(default_factory=_Open)
    limiter: Limiter = field(default_factory=_Unlimited)
    cache: ResponseCache | None = None
    traffic: Traffic = field(default_factory=_OneArm)
    observers: Sequence[Observer] = ()
