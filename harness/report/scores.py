"""Measurements of both arms side by side: one score per case and check, repeats averaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from harness.spec.measurement import Measurement, Status

Outcome = Literal["worse", "better", "same", "single", "cost", "unscored", "error"]

# Units that say how good an output is. Time and tokens differ between any two runs, so no single case is called
# worse for them; their gates judge them over all cases.
QUALITY = frozenset(("share", "score"))

_ORDER: tuple[Outcome, ...] = ("worse", "error", "unscored", "better", "same", "single", "cost")


@dataclass(frozen=True, slots=True)
class Score:
    """What one check said of one case in both arms; values are means over the repeats that were scored.

    ``gain`` is candidate minus baseline, positive when better. ``reason`` is the candidate's, from its worst repeat.
    """

    stage: str
    app: str
    step: str
    case: str
    check: str
    metric: str
    unit: str
    slices: tuple[str, ...]
    baseline: float | None
    candidate: float | None
    gain: float | None
    outcome: Outcome
    reason: str
    worst_repeat: int
    repeats: int
    better: str

    @property
    def failed(self) -> bool:
        """Whether a share is at its bad end in every repeat: 0 where higher is better, else 1."""
        return self.unit == "share" and self.candidate == (1.0 if self.better == "lower" else 0.0)

    @property
    def label(self) -> str:
        """The check, with its step and, where it differs, its metric."""
        check = self.check if self.metric in ("", self.check) else f"{self.check} ({self.metric})"
        return f"{self.step} · {check}" if self.step else check


class _Place(NamedTuple):
    stage: str
    app: str
    step: str
    check: str
    metric: str


class _Reading(NamedTuple):
    """What is kept of a row; a large run has hundreds of thousands of them."""

    variant: str
    repeat: int
    value: float | None
    status: Status
    reason: str
    unit: str
    slices: tuple[str, ...]


class Scoring:
    """Takes rows in any order, then gives their scores."""

    def __init__(self) -> None:
        self._places: dict[_Place, dict[str, list[_Reading]]] = defaultdict(dict)
        self._kept: dict[Any, Any] = {}

    def add(self, row: Measurement) -> None:
        """Take one row."""
        # Each row is parsed by itself, so equal texts are different objects: of all of them one is kept.
        one = self._kept.setdefault
        reading = _Reading(
            one(row.variant, row.variant), row.repeat, row.value, one(row.status, row.status),
            one(row.reason, row.reason), one(row.unit, row.unit), one(row.slices, row.slices),
        )  # fmt: skip
        place = _Place(row.stage, row.app, row.step, row.check, row.metric)
        self._places[place].setdefault(one(row.case, row.case), []).append(reading)

    def scores(self, better: Mapping[tuple[str, str], str]) -> list[Score]:
        """One score per stage, app, step, case, check and metric: what fell first, then by name.

        ``better`` says ``lower`` for the metrics (app, metric) that are. The rows are given away: call it once.
        """
        made = []
        for place, cases in self._places.items():
            direction = better.get((place.app, place.metric), "higher")
            while cases:
                case, readings = cases.popitem()
                made.append(_score(place, case, readings, direction))
        self._kept.clear()
        made.sort(key=lambda s: (_ORDER.index(s.outcome), s.app, s.case, s.step, s.check, s.metric, s.stage))
        return made


def mean(numbers: Iterable[float | None]) -> float | None:
    """The mean of the numbers that are not None; None where there is none."""
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def _score(place: _Place, case: str, readings: list[_Reading], better: str) -> Score:
    baseline = [reading for reading in readings if reading.variant == "baseline"]
    candidate = [reading for reading in readings if reading.variant == "candidate"]
    # With nothing changed one arm is measured; whichever it is stands for the app under review.
    arm = candidate or baseline
    was = mean(reading.value for reading in baseline) if candidate else None
    now = mean(reading.value for reading in arm)
    sign = -1.0 if better == "lower" else 1.0
    gain = None if was is None or now is None else sign * (now - was)
    worst = _worst(baseline, arm, sign)
    first = arm[0]
    return Score(
        stage=place.stage, app=place.app, step=place.step, case=case, check=place.check, metric=place.metric,
        unit=first.unit, slices=first.slices, baseline=was, candidate=now, gain=gain,
        outcome=_outcome(arm, bool(baseline and candidate), gain), reason=worst.reason, worst_repeat=worst.repeat,
        repeats=len({reading.repeat for reading in arm}), better=better,
    )  # fmt: skip


def _worst(baseline: list[_Reading], arm: list[_Reading], sign: float) -> _Reading:
    if len(arm) == 1:
        return arm[0]
    before = {reading.repeat: reading.value for reading in baseline}

    def badness(reading: _Reading) -> tuple[int, float, int]:
        if reading.value is None:
            return (1 if reading.status == "error" else 2, 0.0, reading.repeat)
        return (0, sign * (reading.value - (before.get(reading.repeat) or 0.0)), reading.repeat)

    scored = [reading for reading in arm if reading.value is not None]
    return min(scored or arm, key=badness)


def _outcome(arm: list[_Reading], both: bool, gain: float | None) -> Outcome:
    if all(reading.value is None for reading in arm):
        return "error" if any(reading.status == "error" for reading in arm) else "unscored"
    if arm[0].unit not in QUALITY:
        return "cost"
    if gain is None:
        return "unscored" if both else "single"
    if abs(gain) < 1e-9:
        return "same"
    return "better" if gain > 0 else "worse"
