"""Who may be the best: intervals of each candidate, paired comparisons of all, and groups that are not told apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.evals.scoring import BoundCheck
from harness.gate.inferences import infer
from harness.gate.samples import Sample, Table
from harness.spec.gates import Gate
from harness.spec.measurement import Measurement

ERROR = 0.05
"""The chance that any statement about who is best is wrong; an interval's two sides share it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with both bounds; None: the cases do not tell. Rows without a value widen it to their worst."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    errors: int
    unscored: int
    method: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each candidate stands. ``groups`` holds the ids from best to worst.

    Those of one group are not told apart; with confidence 1 - ``ERROR`` the best candidate is in the first one.
    ``levels`` are by candidate and slice ('all' for all cases), ``differences`` candidate minus the first one.
    """

    groups: tuple[tuple[str, ...], ...]
    levels: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Interval]


def stand(rows: Mapping[str, Sequence[Measurement]], metric: str, check: BoundCheck, slices: Sequence[str]) -> Standing:
    """Compare candidates by their rows (id -> rows, the first one is the reference).

    Levels have two-sided intervals at 1 - ERROR, clustered by group as a gate's are. A candidate is told apart from
    the best when a paired comparison on the same cases shows another one to be better, one-sided at
    ERROR / (candidates - 1): by Bonferroni the truly best one is left out with a chance of at most ERROR (multiple
    comparisons with the best, Hsu 1981, Annals of Statistics 9, 1026-1034; Edwards and Hsu 1983, JASA 78, 965-971).
    What is left out is grouped again in the same way.
    """
    gate = _gate(metric, check)
    ids = list(rows)
    levels = {each: _levels(each, rows[each], gate, slices) for each in ids}
    side = 1 - ERROR / 2
    differences = {each: _difference(rows[each], rows[ids[0]], gate, side) for each in ids[1:]}
    beaten = _beaten(rows, gate, 1 - ERROR / max(1, len(ids) - 1))
    return Standing(tuple(_groups(ids, beaten)), levels, differences)


def _gate(metric: str, check: BoundCheck) -> Gate:
    """Nothing is decided by it: it says over which range the metric is averaged."""
    low, high = check.check.range
    return Gate(
        id="quality",
        metric=metric,
        step=check.spec.step,
        rule="at_least",
        threshold=0.0,
        better=check.check.better,
        minimum=low,
        maximum=high,
    )


def _levels(name: str, rows: Sequence[Measurement], gate: Gate, slices: Sequence[str]) -> dict[str, Interval]:
    gates = {each: gate.model_copy(update={"slice": each}) for each in ("all", *slices)}
    table = Table((replace(row, app=name) for row in rows), {name: list(gates.values())})
    found = {}
    for each, wanted in gates.items():
        sample = table.sample(name, wanted, paired=False, same=False)
        found[each] = _interval(sample, wanted, 1 - ERROR / 2)
    return found


def _paired(rows: Sequence[Measurement], others: Sequence[Measurement]) -> Iterator[Measurement]:
    for variant, part in (("candidate", rows), ("baseline", others)):
        for row in part:
            yield replace(row, app="pair", variant=variant)  # type: ignore[arg-type]


def _difference(rows: Sequence[Measurement], others: Sequence[Measurement], gate: Gate, confidence: float) -> Interval:
    """``rows`` minus ``others``, each bound at the one-sided ``confidence``."""
    paired = gate.model_copy(update={"rule": "no_worse_than_baseline_by"})
    table = Table(_paired(rows, others), {"pair": [paired]})
    return _interval(table.sample("pair", paired, paired=True, same=False), paired, confidence)


def _interval(sample: Sample | None, gate: Gate, confidence: float) -> Interval:
    if sample is None:
        return Interval(None, None, None, 0, 0, 0, "none")
    found = infer(sample, gate)
    low, high = float(found.inference.low(confidence)), float(found.inference.high(confidence))
    if sample.lost:
        # An answer that nobody could score may have been the worst one, or the best.
        bottom = gate.minimum if gate.minimum is not None else -math.inf
        top = gate.maximum if gate.maximum is not None else math.inf
        low = min(low, float(infer(sample.filled(bottom, top), gate).inference.low(confidence)))
        high = max(high, float(infer(sample.filled(top, bottom), gate).inference.high(confidence)))
    return Interval(
        estimate=_finite(float(found.inference.estimate)),
        low=_finite(low),
        high=_finite(high),
        n=found.n,
        errors=sample.errors,
        unscored=sample.unscored,
        method=found.inference.method,
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _beaten(rows: Mapping[str, Sequence[Measurement]], gate: Gate, confidence: float) -> Mapping[str, set[str]]:
    """Candidate -> those that were shown to be better than it."""
    found: dict[str, set[str]] = {each: set() for each in rows}
    ids = list(rows)
    for place, one in enumerate(ids):
        for other in ids[place + 1 :]:
            shown = _difference(rows[one], rows[other], gate, confidence)
            low, high = (shown.low, shown.high) if gate.better == "higher" else (_minus(shown.high), _minus(shown.low))
            if low is not None and low > 0:
                found[other].add(one)
            elif high is not None and high < 0:
                found[one].add(other)
    return found


def _minus(number: float | None) -> float | None:
    return None if number is None else -number


def _groups(ids: Sequence[str], beaten: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    left = list(ids)
    while left:
        # With answers missing here and there, pairs rest on different cases and might beat each other in a circle.
        group = [each for each in left if beaten[each].isdisjoint(left)] or left
        yield tuple(group)
        left = [each for each in left if each not in group]


def frontier(points: Mapping[str, tuple[float, float]], *, higher: bool) -> frozenset[str]:
    """The ids that no other one beats in quality and latency at once (quality, milliseconds), by the estimates."""
    sign = 1.0 if higher else -1.0
    return frozenset(
        name
        for name, (quality, time) in points.items()
        if not any(
            sign * other >= sign * quality and fast <= time and (other, fast) != (quality, time)
            for other, fast in points.values()
        )
    )
