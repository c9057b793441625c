"""Holds every key to its requests and tokens a minute and to its number of requests at once."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.serve.gateway.api_errors import ApiError, invalid
from harness.serve.gateway.turn import Principal
from harness.serve.gateway.window import Window
from harness.spec.serving import Limits

# A running request may end at any moment: asking again soon is right, and there is no better figure.
_SOON_S = 1.0


@dataclass(slots=True)
class _Use:
    """What one key does now and did in the last minute."""

    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    running: int = 0


class KeyLimiter:
    """The ``Limiter`` of a gateway. A limit that a key does not have is the server's own.

    A request that is not admitted uses nothing up. Tokens are reserved as estimated, once the request was read, and
    corrected when it is over; one that is refused after it was admitted is settled with 0 tokens and counts as a
    request only.
    """

    def __init__(self, limits: Limits, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._now = limits, monotonic
        self._uses: dict[str, _Use] = {}
        # Admission is on the event loop; what settles may be another thread.
        self._lock = threading.Lock()
        self._lost: deque[Place] = deque()

    def admit(self, principal: Principal, tokens: int = 0) -> Place:
        """Reserve a request of about ``tokens`` tokens, or of a number that ``Place.reserve`` tells later.

        ApiError 429 with ``retry-after`` if it has to wait; 400 if it is larger than a whole minute's tokens.
        """
        own, limits = principal.limits, self._limits
        a_minute = _either(own.tokens_per_minute, limits.tokens_per_minute)
        _fits(tokens, a_minute)
        self._find_lost()
        with self._lock:
            now, use = self._now(), self._uses.setdefault(principal.key_id, _Use())
            at_once = _either(own.concurrent, limits.concurrent)
            if use.running >= at_once:
                raise _limited(f"{at_once} requests at once", _SOON_S)
            requests = _either(own.requests_per_minute, limits.requests_per_minute)
            waits = (
                (_or_soon(use.requests.wait(1, requests, now)), f"{requests} requests a minute"),
                (_or_soon(use.tokens.wait(tokens, a_minute, now)), f"{a_minute} tokens a minute"),
            )
            _admissible(*max(waits))
            use.requests.use(1, 0, now)
            use.tokens.hold(tokens)
            use.running += 1
        return Place(self, use, tokens, a_minute)

    def running(self, key_id: str) -> int:
        """How many requests of a key hold a place now."""
        self._find_lost()
        use = self._uses.get(key_id)
        return 0 if use is None else use.running

    def _reserve(self, use: _Use, tokens: int, a_minute: int) -> None:
        _fits(tokens, a_minute)
        with self._lock:
            _admissible(_or_soon(use.tokens.wait(tokens, a_minute, self._now())), f"{a_minute} tokens a minute")
            use.tokens.hold(tokens)

    def _settle(self, use: _Use, held: int, used: int) -> None:
        with self._lock:
            use.running -= 1
            use.tokens.use(max(0, used), held, self._now())

    def _find_lost(self) -> None:
        while self._lost:
            lost = self._lost.popleft()
            lost.settle(lost.tokens)


class Place:
    """A request's reservation, to be settled exactly when the request is over, however it ends."""

    __slots__ = ("_a_minute", "_limiter", "_open", "_use", "tokens")

    def __init__(self, limiter: KeyLimiter, use: _Use, tokens: int, a_minute: int) -> None:
        self._limiter, self._use, self.tokens, self._a_minute = limiter, use, tokens, a_minute
        self._open = True

    def reserve(self, tokens: int) -> None:
        """Hold about ``tokens`` more; ApiError like ``KeyLimiter.admit``, after which nothing more is held."""
        self._limiter._reserve(self._use, tokens, self._a_minute)
        self.tokens += tokens

    def settle(self, tokens: int) -> None:
        """Give the place back and count the ``tokens`` that were used; repeated calls do nothing."""
        if self._open:
            self._open = False
            self._limiter._settle(self._use, self.tokens, tokens)

    def __del__(self) -> None:
        # A stream whose client leaves before its first event never runs its ``finally``. Nothing is settled here,
        # because a collection may happen while the lock is held; the next admission does it, at the estimate.
        if self._open:
            self._limiter._lost.append(self)


def _fits(tokens: int, a_minute: int) -> None:
    if tokens > a_minute:
        message = f"this request may use {tokens} tokens, and the limit is {a_minute} a minute"
        raise invalid(f"{message}; send less text or ask for fewer tokens", "max_tokens")


def _admissible(wait: float, limit: str) -> None:
    if wait > 0:
        raise _limited(limit, wait)


def _or_soon(wait: float | None) -> float:
    return _SOON_S if wait is None else wait


def _either(own: int | None, server: int) -> int:
    return server if own is None else own


def _limited(limit: str, seconds: float) -> ApiError:
    # Clients of OpenAI read the milliseconds first; others know whole seconds only.
    milliseconds = max(1, math.ceil(seconds * 1000))
    whole = max(1, math.ceil(seconds))
    return ApiError(
        429,
        f"the limit of {limit} is reached; try again in {whole} s",
        code="rate_limit_exceeded",
        headers={"retry-after": str(whole), "retry-after-ms": str(milliseconds)},
    )
