"""Which request is sent when, to which arm: fixed by a seed before the run, so that both arms get the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.errors import UsageError
from harness.spec.load import LoadProfile
from harness.spec.measurement import Variant
from harness.spec.suites import Case

WARMUP = -1
"""The pair of blocks that does not count."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: ``question`` is its place in the plan's list, ``offset_s`` when it is sent after its block began.

    ``case`` is the request's identity, equal in both arms and in no other pair of blocks.
    """

    number: int
    question: int
    case: str
    offset_s: float


@dataclass(frozen=True, slots=True)
class Block:
    """Requests to one arm. A block begins when the one before it is answered; ``pair`` is WARMUP or counts from 0."""

    number: int
    pair: int
    variant: Variant
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The blocks in their order, and the cases that their requests ask."""

    blocks: tuple[Block, ...]
    cases: tuple[Case, ...]

    @property
    def requests(self) -> int:
        """How many requests there are, those of the warm-up included."""
        return sum(len(block.shots) for block in self.blocks)

    @property
    def seconds(self) -> float:
        """How long sending takes when every answer comes at once."""
        return sum(block.shots[-1].offset_s for block in self.blocks if block.shots)

    def measured(self) -> Iterator[tuple[Block, Shot]]:
        """The requests that count, in the order in which they are sent."""
        return ((block, shot) for block in self.blocks if block.pair != WARMUP for shot in block.shots)

    def as_dict(self) -> Mapping[str, Any]:
        """The blocks as plain data, the cases by name."""
        return {"cases": [case.id for case in self.cases], "blocks": [asdict(block) for block in self.blocks]}


def make_schedule(profile: LoadProfile, cases: Sequence[Case], variants: Sequence[Variant]) -> Schedule:
    """The schedule of a profile over ``cases``: exponential gaps of mean 1 / rate (a Poisson process).

    Both blocks of a pair ask the same cases after the same gaps. Half of the pairs begin with either arm, in an order
    drawn by the seed, so that neither a drift of the machine nor the place in the pair favours an arm.
    UsageError: no case is left.
    """
    chosen = [case for case in cases if not profile.slices or not set(profile.slices).isdisjoint(case.slices)]
    if not chosen:
        where = f" of slices {', '.join(profile.slices)}" if profile.slices else ""
        raise UsageError(f"load.yaml: there is no case{where} to ask; name slices that have cases")
    draw = np.random.default_rng(profile.seed)
    questions = _endless(draw, len(chosen))
    blocks: list[Block] = []
    sent = 0
    pairs = [WARMUP] if profile.warmup else []
    first = iter(_balanced(draw, profile.blocks))
    for pair in [*pairs, *range(profile.blocks)]:
        size = profile.warmup if pair == WARMUP else profile.block_requests
        asked = [next(questions) for _ in range(size)]
        times = np.cumsum(draw.exponential(1 / profile.rate, size)).round(6).tolist()
        swap = pair != WARMUP and next(first)
        for variant in [*reversed(variants)] if swap else variants:
            shots = tuple(
                Shot(sent + place, question, _identity(pair, place, chosen[question]), time)
                for place, (question, time) in enumerate(zip(asked, times, strict=True))
            )
            blocks.append(Block(len(blocks), pair, variant, shots))
            sent += size
    return Schedule(tuple(blocks), tuple(chosen))


def _identity(pair: int, place: int, case: Case) -> str:
    block = "warm-up" if pair == WARMUP else f"b{pair:03}"
    return f"{block}.{place:03}.{case.id}"


def _balanced(draw: np.random.Generator, pairs: int) -> list[bool]:
    swaps = np.arange(pairs) % 2 == int(draw.integers(2))
    return [bool(swap) for swap in draw.permutation(swaps)]


def _endless(draw: np.random.Generator, count: int) -> Iterator[int]:
    """Every case before any comes again: a prompt that was answered before is cheaper than a new one."""
    while True:
        yield from draw.permutation(count).tolist()
