"""Memory for keys and values: slots in buckets, never more than the budget."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.serve.engine.kv_store import SMALLEST, KvPool, KvShape, Place

SHAPE = KvShape(layers=1, heads=1, size=2, dtype=torch.float32, device=torch.device("cpu"))


def pool(slots: int = 8, budget: int = 4 * SMALLEST, longest: int = 4 * SMALLEST) -> KvPool:
    """A small pool."""
    return KvPool(SHAPE, slots, budget, longest)


def test_a_long_request_gets_a_bucket_of_its_own() -> None:
    """A request that is longer than others does not widen their slots."""
    slots = pool(budget=16 * SMALLEST)
    short, long = slots.take(10), slots.take(SMALLEST + 1)
    assert short is not None and long is not None
    assert short.bucket.capacity == SMALLEST
    assert long.bucket.capacity == 2 * SMALLEST


def test_no_more_slots_than_the_budget_has_tokens() -> None:
    """The fifth request of a budget for four waits, and gets the place of one that has ended."""
    slots = pool()
    taken = [slots.take(SMALLEST) for _ in range(4)]
    assert all(taken)
    assert slots.take(1) is None
    assert taken[2] is not None
    slots.give_back(taken[2])
    again = slots.take(1)
    assert again is not None
    assert again.slot == taken[2].slot


def test_what_cannot_fit_is_known_before_it_waits() -> None:
    """A request larger than the whole budget never fits."""
    assert pool().fits(4 * SMALLEST)
    assert not pool(longest=64 * SMALLEST).fits(4 * SMALLEST + 1)


def test_memory_goes_back_to_who_needs_it() -> None:
    """Memory that an emptied bucket held is given to another bucket, and the state of running requests stays."""
    slots = pool()
    kept = slots.take(SMALLEST)
    assert kept is not None
    kept.data.fill_(7.0)
    others = [slots.take(SMALLEST) for _ in range(3)]
    assert slots.take(2 * SMALLEST) is None
    for place in others:
        assert place is not None
        slots.give_back(place)
    wide = slots.take(2 * SMALLEST)
    assert wide is not None
    assert slots.held <= slots.budget
    wide.data.fill_(1.0)
    assert float(kept.data.min()) == 7.0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4 * SMALLEST)), max_size=60))
def test_the_budget_holds_whatever_comes_and_goes(moves: list[tuple[bool, int]]) -> None:
    """No order of requests makes the pool hold more than its budget, hand out a slot twice, or mix up contents."""
    slots, marks = pool(), {}
    running: list[Place] = []
    for number, (leave, tokens) in enumerate(moves, 1):
        if leave and running:
            slots.give_back(running.pop(tokens % len(running)))
        place = slots.take(tokens)
        if place is not None:
            assert place.bucket.capacity >= tokens
            place.data.fill_(float(number))
            marks[id(place)] = float(number)
            running.append(place)
        assert slots.held <= slots.budget
        assert len({(each.bucket.capacity, each.slot) for each in running}) == len(running)
        for each in running:
            assert float(each.data.min()) == float(each.data.max()) == marks[id(each)]


def test_an_idle_pool_always_has_room() -> None:
    """After everything has been given back, the largest request that fits at all is taken."""
    slots = pool()
    for tokens in (1, SMALLEST, 2 * SMALLEST, 3 * SMALLEST):
        place = slots.take(tokens)
        assert place is not None
        slots.give_back(place)
    assert slots.take(4 * SMALLEST) is not None
