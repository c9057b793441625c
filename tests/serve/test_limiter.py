"""Limits hold in every window of a minute, whatever the order of events, and no place is ever lost."""

from __future__ import annotations

import gc
import math
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.limiter import KeyLimiter, Place
from harness.serve.gateway.turn import DEVELOPER, NOBODY, KeyLimits, Principal
from harness.spec.serving import Limits

WIDE = Limits(requests_per_minute=10**6, tokens_per_minute=10**6, concurrent=10**6)


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(**limits: int) -> Principal:
    """A key with its own limits."""
    return Principal("key-1", limits=KeyLimits(**limits))


def refused(limiter: KeyLimiter, principal: Principal, tokens: int = 1) -> ApiError:
    """The error that admission ends in."""
    with pytest.raises(ApiError) as error:
        limiter.admit(principal, tokens)
    return error.value


def test_requests_of_a_minute_are_counted() -> None:
    """The request above the limit is a 429 that says when the oldest leaves the minute; then there is room again."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    for _ in range(3):
        limiter.admit(key(requests_per_minute=3), 1).settle(1)
        clock.now += 10
    error = refused(limiter, key(requests_per_minute=3))
    assert (error.status, error.code, error.param) == (429, "rate_limit_exceeded", None)
    assert "3 requests a minute" in error.message
    assert error.headers == {"retry-after": "30", "retry-after-ms": "30000"}
    clock.now += 30
    limiter.admit(key(requests_per_minute=3), 1).settle(1)
    assert refused(limiter, key(requests_per_minute=3)).headers["retry-after"] == "10"


def test_the_wait_is_never_nothing() -> None:
    """A wait of a moment is one millisecond and one whole second at least: zero would be asked again at once."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    limiter.admit(key(requests_per_minute=1), 1)
    clock.now += 59.9999
    assert refused(limiter, key(requests_per_minute=1)).headers == {"retry-after": "1", "retry-after-ms": "1"}


def test_tokens_are_reserved_and_corrected() -> None:
    """What was estimated counts while a request runs; what was used counts afterwards, be it less or more."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(tokens_per_minute=100)
    place = limiter.admit(mine, 80)
    assert "100 tokens a minute" in refused(limiter, mine, 21).message
    limiter.admit(mine, 20).settle(0)
    place.settle(10)
    place = limiter.admit(mine, 90)
    place.settle(150)
    error = refused(limiter, mine)
    assert error.headers["retry-after"] == "60"
    clock.now += 60
    limiter.admit(mine, 100)


def test_a_request_that_runs_long_still_counts() -> None:
    """A reservation does not fall out of the minute while its request runs, and what it used counts from its end."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(tokens_per_minute=100)
    place = limiter.admit(mine, 100)
    clock.now += 300
    assert refused(limiter, mine).headers["retry-after"] == "1"
    place.settle(100)
    clock.now += 59
    assert refused(limiter, mine).headers["retry-after"] == "1"
    clock.now += 1
    limiter.admit(mine, 100)


def test_a_request_larger_than_a_minute_is_a_400() -> None:
    """What could never be admitted is not told to come back later."""
    error = refused(KeyLimiter(WIDE), key(tokens_per_minute=100), 101)
    assert (error.status, error.param) == (400, "max_tokens")
    assert "101" in error.message and "100" in error.message


def test_requests_at_once_are_counted() -> None:
    """No more than the limit run at a time; a place that is given back is free at once."""
    limiter = KeyLimiter(WIDE)
    mine = key(concurrent=2)
    first, _second = limiter.admit(mine, 1), limiter.admit(mine, 1)
    error = refused(limiter, mine)
    assert error.status == 429 and "2 requests at once" in error.message and error.headers["retry-after"] == "1"
    first.settle(1)
    limiter.admit(mine, 1)


def test_a_refused_request_uses_nothing_up() -> None:
    """Neither requests nor tokens nor places are charged for a request that was refused."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(requests_per_minute=2, tokens_per_minute=10, concurrent=2)
    limiter.admit(mine, 8).settle(8)
    for _ in range(50):
        refused(limiter, mine, 5)
    place = limiter.admit(mine, 2)
    assert limiter.running("key-1") == 1
    place.settle(2)


def test_tokens_are_reserved_when_they_are_known() -> None:
    """A request that waits for its tokens holds a place; the tokens count once, and what does not fit is refused."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(tokens_per_minute=100, concurrent=2)
    first, second = limiter.admit(mine), limiter.admit(mine)
    assert refused(limiter, mine, 0).status == 429
    first.reserve(70)
    with pytest.raises(ApiError, match="100 tokens a minute") as raised:
        second.reserve(31)
    assert raised.value.status == 429
    with pytest.raises(ApiError) as raised:
        second.reserve(101)
    assert (raised.value.status, raised.value.param) == (400, "max_tokens")
    second.settle(0)
    first.settle(60)
    limiter.admit(mine, 40)
    assert refused(limiter, mine, 1).headers["retry-after"] == "60"


def test_settling_twice_changes_nothing() -> None:
    """A place is given back once, however often it is settled."""
    limiter = KeyLimiter(WIDE)
    mine = key(concurrent=2, tokens_per_minute=100)
    place, other = limiter.admit(mine, 50), limiter.admit(mine, 50)
    for _ in range(3):
        place.settle(0)
    assert limiter.running("key-1") == 1
    refused(limiter, mine, 51)
    other.settle(-5)
    limiter.admit(mine, 100)


def test_a_place_that_is_dropped_is_found() -> None:
    """A reservation that nobody settled comes back when it is collected, and counts as estimated."""
    limiter = KeyLimiter(WIDE)
    mine = key(concurrent=1, tokens_per_minute=100)
    limiter.admit(mine, 60)
    gc.collect()
    assert limiter.running("key-1") == 0
    refused(limiter, mine, 50)
    limiter.admit(mine, 40)


def test_keys_do_not_share() -> None:
    """One key's use is nothing to another's."""
    limiter = KeyLimiter(Limits(requests_per_minute=1))
    places = [limiter.admit(Principal(name), 1) for name in ("a", "b", "c")]
    assert len(places) == 3
    refused(limiter, Principal("a"))


@pytest.mark.parametrize("principal", [NOBODY, DEVELOPER, Principal("key-2")])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "concurrent"])
def test_without_limits_of_its_own_the_server_s_hold(principal: Principal, name: str) -> None:
    """A key that names no limit, and a caller without a key, have the server's."""
    limiter = KeyLimiter(WIDE.model_copy(update={name: 1}))
    place = limiter.admit(principal, 1)
    assert refused(limiter, principal).status == 429
    place.settle(1)


def test_own_limits_may_be_wider() -> None:
    """A key's own limit replaces the server's, also upwards."""
    limiter = KeyLimiter(Limits(requests_per_minute=1))
    places = [limiter.admit(key(requests_per_minute=5), 1) for _ in range(5)]
    assert len(places) == 5


def test_threads_lose_nothing() -> None:
    """Requests that are admitted and settled on many threads leave no place taken and no token uncounted."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(tokens_per_minute=4000)

    def work() -> None:
        for _ in range(500):
            limiter.admit(mine, 1).settle(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limiter.running("key-1") == 0
    refused(limiter, mine)
    clock.now += 60
    limiter.admit(mine, 4000)


@dataclass
class Model:
    """The same limits, computed anew from everything that ever happened."""

    requests: int
    tokens: int
    at_once: int
    admitted: list[float] = field(default_factory=list)
    used: list[tuple[float, int]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    def fits(self, tokens: int, now: float) -> bool:
        recent = sum(amount for at, amount in self.used if now - 60 < at <= now)
        return (
            len(self.held) < self.at_once
            and sum(now - 60 < at <= now for at in self.admitted) < self.requests
            and recent + sum(self.held) + tokens <= self.tokens
        )


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 40)),
        st.tuples(st.just("settle"), st.integers(0, 3), st.integers(0, 60)),
        st.tuples(st.just("wait"), st.integers(0, 25)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=300)
@given(
    actions=ACTIONS,
    requests=st.integers(1, 6),
    tokens=st.integers(40, 100),
    at_once=st.integers(1, 4),
)
def test_it_decides_like_a_model_that_remembers_everything(
    actions: list[tuple], requests: int, tokens: int, at_once: int
) -> None:
    """For any order of requests, ends and waits, admission equals a brute-force count; a wait it names is the least."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(requests_per_minute=requests, tokens_per_minute=tokens, concurrent=at_once)
    model = Model(requests, tokens, at_once)
    open_: list[Place] = []
    for action in actions:
        if action[0] == "wait":
            clock.now += action[1]
        elif action[0] == "settle" and open_:
            index = action[1] % len(open_)
            open_.pop(index).settle(action[2])
            model.held.pop(index)
            model.used.append((clock.now, action[2]))
        elif action[0] == "ask" and model.fits(action[1], clock.now):
            open_.append(limiter.admit(mine, action[1]))
            model.admitted.append(clock.now)
            model.held.append(action[1])
        elif action[0] == "ask":
            _check_wait(refused(limiter, mine, action[1]), model, action[1], clock.now)
        assert limiter.running("key-1") == len(open_)
    for place in open_:
        place.settle(0)
    assert limiter.running("key-1") == 0


def _check_wait(error: ApiError, model: Model, tokens: int, now: float) -> None:
    wait = int(error.headers["retry-after"])
    assert int(error.headers["retry-after-ms"]) == wait * 1000
    if len(model.held) >= model.at_once or sum(model.held) + tokens > model.tokens:
        # Waiting alone does not help: a running request has to end, and nobody knows when.
        assert 1 <= wait <= 60
    else:
        assert wait == next(seconds for seconds in range(1, 200) if model.fits(tokens, now + seconds))


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1), st.floats(0, 90), st.floats(0, 30)), max_size=40),
)
def test_no_minute_uses_more_than_the_limit(sizes: list[tuple[int, float, float, float]]) -> None:
    """If no estimate was too low, the tokens used in any 60 seconds stay below the limit, however long requests ran."""
    clock = Clock()
    limiter = KeyLimiter(WIDE, monotonic=clock)
    mine = key(tokens_per_minute=100)
    running: list[tuple[float, Place, int]] = []
    spent: list[tuple[float, int]] = []

    def end_until(now: float) -> None:
        for at, place, used in sorted((each for each in running if each[0] <= now), key=lambda each: each[0]):
            clock.now = at
            place.settle(used)
            spent.append((at, used))
        running[:] = [each for each in running if each[0] > now]

    for estimate, share, lasts, pause in sizes:
        now = clock.now + pause
        end_until(now)
        clock.now = now
        try:
            place = limiter.admit(mine, estimate)
        except ApiError:
            continue
        running.append((now + lasts, place, math.floor(estimate * share)))
    end_until(math.inf)
    for start, _ in spent:
        assert sum(amount for at, amount in spent if start <= at < start + 60) <= 100
