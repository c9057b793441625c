"""The measurement table, read once and kept only where a gate looks."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from harness.spec.gates import Gate
from harness.spec.measurement import Measurement

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Key = tuple[str, str, str, str]
TOLD = 3


@dataclass(frozen=True, slots=True)
class ArmRows:
    """Rows of one variant: ``values`` (NaN: no value) and ``cases``, each row's index among the sample's cases."""

    values: Floats
    cases: Codes

    def means(self, n: int) -> Floats:
        """The mean of each of ``n`` cases over its rows with a value; NaN where there is none."""
        scored = ~np.isnan(self.values)
        counts = np.bincount(self.cases[scored], minlength=n)
        sums = np.bincount(self.cases[scored], weights=self.values[scored], minlength=n)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def filled(self, value: float) -> ArmRows:
        """The rows with every missing value replaced."""
        return replace(self, values=np.where(np.isnan(self.values), value, self.values))

    def scored(self) -> ArmRows:
        """Only the rows with a value."""
        keep = ~np.isnan(self.values)
        return ArmRows(self.values[keep], self.cases[keep])


@dataclass(frozen=True, slots=True)
class Sample:
    """What one gate sees: rows of the candidate and of the baseline over the same list of cases.

    ``clusters`` holds the cluster of each case. ``errors`` counts, besides rows that say so, the rows of cases that
    only the other variant has (in paired samples).
    """

    candidate: ArmRows
    baseline: ArmRows
    clusters: Codes
    errors: int
    unscored: int
    unit: str
    why: str = ""
    """The commonest reason of rows without a value."""
    told: tuple[tuple[str, str], ...] = ()
    """(case, reason) of the candidate's first rows that have a value and say why."""

    @property
    def n(self) -> int:
        """The number of cases."""
        return int(self.clusters.size)

    @property
    def lost(self) -> int:
        """Rows without a value."""
        return int(np.isnan(self.candidate.values).sum() + np.isnan(self.baseline.values).sum())

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.candidate.values.size + self.baseline.values.size)

    @property
    def repeats(self) -> int:
        """The usual number of rows a case and variant."""
        return int(np.median(np.bincount(self.candidate.cases))) if self.candidate.cases.size else 0

    def filled(self, candidate: float, baseline: float) -> Sample:
        """The sample with missing values of each variant replaced."""
        return replace(self, candidate=self.candidate.filled(candidate), baseline=self.baseline.filled(baseline))

    def codes(self) -> Codes | None:
        """The clusters, or None when every case is its own."""
        return None if np.unique(self.clusters).size == self.n else self.clusters

    def within(self) -> float:
        """The variance of one row around its case's mean (both variants' added for a difference); NaN if unrepeated."""
        return sum(_within(arm, self.n) for arm in (self.candidate, self.baseline) if arm.values.size)


def _within(arm: ArmRows, n: int) -> float:
    rows = arm.scored()
    squares = (rows.values - rows.means(n)[rows.cases]) ** 2
    free = rows.values.size - np.unique(rows.cases).size
    return float(squares.sum() / free) if free > 0 else float("nan")


@dataclass(slots=True)
class _Pile:
    """Rows of one key while the table is read."""

    values: dict[str, array[float]] = field(default_factory=lambda: {"candidate": array("d"), "baseline": array("d")})
    cases: dict[str, array[int]] = field(default_factory=lambda: {"candidate": array("q"), "baseline": array("q")})
    status: Counter[tuple[str, str]] = field(default_factory=Counter)
    clusters: dict[int, int] = field(default_factory=dict)
    unit: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    told: list[tuple[str, str]] = field(default_factory=list)

    def add(self, row: Measurement, case: int, cluster: int) -> None:
        usable = row.status == "scored" and row.value is not None and not math.isnan(row.value)
        self.values[row.variant].append(row.value if usable and row.value is not None else math.nan)
        self.cases[row.variant].append(case)
        self.status[row.variant, "unscored" if row.status == "scored" and not usable else row.status] += 1
        self.clusters.setdefault(case, cluster)
        self.unit = row.unit
        if not usable and row.reason:
            self.reasons[row.reason] += 1
        elif row.reason and row.variant == "candidate" and len(self.told) < TOLD:
            self.told.append((row.case, row.reason))


class Table:
    """Samples by app, metric, step and slice, gathered in one pass over the rows."""

    def __init__(self, rows: Iterable[Measurement], gates: Mapping[str, Sequence[Gate]]) -> None:
        wanted: dict[tuple[str, str, str], list[tuple[str, _Pile]]] = {}
        self._piles: dict[Key, _Pile] = {}
        for app, gate in ((app, gate) for app, listed in gates.items() for gate in listed):
            key = (app, gate.metric, gate.step, gate.slice)
            if key not in self._piles:
                pile = self._piles[key] = _Pile()
                wanted.setdefault(key[:3], []).append((gate.slice, pile))
        # Numbers stand for names: a large run has hundreds of thousands of rows, and each brings its texts anew.
        cases: dict[str, int] = {}
        clusters: dict[str, int] = {}
        for row in rows:
            piles = wanted.get((row.app, row.metric, row.step))
            if not piles:
                continue
            case = cases.setdefault(row.case, len(cases))
            # A case without a group is a cluster of its own; the mark keeps it apart from a group of the same name.
            cluster = clusters.setdefault(f"g:{row.group}" if row.group else f"c:{row.case}", len(clusters))
            for name, pile in piles:
                if name == "all" or name in row.slices:
                    pile.add(row, case, cluster)

    def sample(self, app: str, gate: Gate, *, paired: bool, same: bool) -> Sample | None:
        """What ``gate`` sees, or None when no row fits.

        ``same``: candidate and baseline are the same app, so rows of either variant are the candidate's.
        """
        pile = self._piles[(app, gate.metric, gate.step, gate.slice)]
        main = "baseline" if same and not pile.cases["candidate"] else "candidate"
        if not pile.cases[main] and not (paired and pile.cases["baseline"]):
            return None
        other = "baseline" if paired else None
        return _sample(pile, main, other)


def _sample(pile: _Pile, main: str, other: str | None) -> Sample:
    variants = [main, *([other] if other else [])]
    seen = dict.fromkeys(case for variant in variants for case in pile.cases[variant])
    index = {case: place for place, case in enumerate(seen)}
    groups: dict[int, int] = {}
    clusters = [groups.setdefault(pile.clusters[case], len(groups)) for case in index]
    candidate = _arm(pile, main, index)
    baseline = _arm(pile, other, index)
    absent = 0
    if other:
        candidate, baseline, absent = _complete(candidate, baseline, len(index))
    return Sample(
        candidate=candidate,
        baseline=baseline,
        clusters=np.asarray(clusters, dtype=np.intp),
        errors=sum(pile.status[variant, "error"] for variant in variants) + absent,
        unscored=sum(pile.status[variant, "unscored"] for variant in variants),
        unit=pile.unit,
        why=next((reason for reason, _ in pile.reasons.most_common(1)), ""),
        told=tuple(pile.told),
    )


def _arm(pile: _Pile, variant: str | None, index: Mapping[int, int]) -> ArmRows:
    values, cases = (pile.values[variant], pile.cases[variant]) if variant else ((), ())
    return ArmRows(np.array(values, dtype=float), np.array([index[case] for case in cases], dtype=np.intp))


def _complete(candidate: ArmRows, baseline: ArmRows, n: int) -> tuple[ArmRows, ArmRows, int]:
    """Both arms with a row without a value for every row of a case that only the other arm has."""
    ours, theirs = (np.bincount(arm.cases, minlength=n) for arm in (candidate, baseline))
    extra = np.repeat(np.arange(n), np.where(ours == 0, theirs, 0))
    missing = np.repeat(np.arange(n), np.where(theirs == 0, ours, 0))
    return _with_holes(candidate, extra), _with_holes(baseline, missing), int(extra.size + missing.size)


def _with_holes(arm: ArmRows, cases: Codes) -> ArmRows:
    return ArmRows(np.append(arm.values, np.full(cases.size, np.nan)), np.append(arm.cases, cases).astype(np.intp))
