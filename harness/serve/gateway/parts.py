"""What a gateway is put together from besides models and apps: each part is one small protocol with a plain default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from harness.serve.gateway.turn import DEVELOPER, Principal, Turn

if TYPE_CHECKING:
    from harness.serve.gateway.feedback import FeedbackBook


class Access(Protocol):
    """Says who is behind a request."""

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """The principal of the key in ``headers`` (lower-case names); ApiError 401 for a missing or wrong one."""
        ...


class Reservation(Protocol):
    """A place that a request holds until it is over."""

    def reserve(self, tokens: int) -> None:
        """Reserve about ``tokens`` tokens for it; ApiError 429 or 400 when they are too many."""
        ...

    def settle(self, tokens: int) -> None:
        """Give the place back, and correct the reserved estimate by what was used; repeated calls do nothing."""
        ...


class Limiter(Protocol):
    """Holds every key to its limits."""

    def admit(self, principal: Principal) -> Reservation:
        """A place for one request; ApiError 429 with Retry-After when it is one too many."""
        ...


class ResponseCache(Protocol):
    """Keeps whole answers of deterministic requests. Keys and values hold nothing that identifies a person."""

    def key(self, tenant: str, digest: str, request: Mapping[str, object]) -> str:
        """The key of one canonical request."""
        ...

    def get(self, key: str) -> bytes | None:
        """The kept answer, None if there is none (or it cannot be trusted)."""
        ...

    def put(self, key: str, answer: bytes, request: Mapping[str, object]) -> None:
        """Keep the answer to ``request``, if neither says something about a person; returns at once."""
        ...


Assigned = Literal["user", "request", "allowed", "default"]


@dataclass(frozen=True, slots=True)
class Arm:
    """Where one user's request to an app goes: ``serves`` answers, ``shadows`` are called as well and never shown.

    ``by`` says how it came to that: by the user's hash; by the request's, because no user was named (the next one may
    go elsewhere); because the file allows it to this user; or as the default outside the experiment's time.
    """

    name: str
    serves: str
    shadows: tuple[str, ...] = ()
    by: Assigned = "user"


class Traffic(Protocol):
    """Splits the users of an app between its variants."""

    def arm(self, app: str, user: str, request: str = "") -> Arm | None:
        """The arm of this user, the same at every call, or of the request's id when ``user`` is empty.

        None when the app's traffic is not split.
        """
        ...


class Observer(Protocol):
    """Is told of every request once, when it is over. Must not raise and must not block."""

    def observe(self, turn: Turn) -> None:
        """Take note of a finished request."""
        ...


class Figures(Protocol):
    """The metrics of the gateway."""

    @property
    def content_type(self) -> str:
        """That of ``render``."""
        ...

    def render(self) -> bytes:
        """All metrics as they are now."""
        ...

    def shadow_dropped(self, app: str) -> None:
        """Count a shadow call that was left out."""
        ...


class _Open:
    def identify(self, headers: Mapping[str, str]) -> Principal:
        return DEVELOPER


class _Place:
    def reserve(self, tokens: int) -> None:
        pass

    def settle(self, tokens: int) -> None:
        pass


class _Unlimited:
    def admit(self, principal: Principal) -> Reservation:
        return _Place()


class _OneArm:
    def arm(self, app: str, user: str, request: str = "") -> Arm | None:
        return None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one gateway. The defaults ask for no key, set no limit, split nothing and keep nothing.

    ``feedback`` takes what became of an answer; ``figures`` are what ``/metrics`` shows.
    """

    access: Access = field(default_factory=_Open)
    limiter: Limiter = field(default_factory=_Unlimited)
    cache: ResponseCache | None = None
    traffic: Traffic = field(default_factory=_OneArm)
    observers: Sequence[Observer] = ()
    feedback: FeedbackBook | None = None
    figures: Figures | None = None
