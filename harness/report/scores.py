"""Measurements of both arms side by side: one score per case and check, repeats averaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from harness.report.folder import Run
from harness.spec.measurement import Measurement

Outcome = Literal["worse", "better", "same", "single", "cost", "unscored", "error"]

# Units that say how good an output is. Time and tokens differ between any two runs, so no single case is called
# worse for them; their gates judge them over all cases.
QUALITY = frozenset(("share", "score"))

_ORDER: tuple[Outcome, ...] = ("worse", "error", "unscored", "better", "same", "single", "cost")

Arm: TypeAlias = dict[int, Measurement]


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


def directions(run: Run) -> dict[tuple[str, str], str]:
    """For every app and metric that a gate names: ``higher`` or ``lower`` is better."""
    return {(str(g.get("app", "")), str(g.get("metric", ""))): str(g.get("better") or "higher") for g in run.gates}


def units(run: Run) -> dict[tuple[str, str], str]:
    """The unit of every app's metrics."""
    return {(row.app, row.metric): row.unit for row in run.rows}


def scores(run: Run) -> list[Score]:
    """One score per stage, app, step, case, check and metric: what fell first, then by name."""
    better = directions(run)
    cells: dict[tuple[str, ...], dict[str, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    for row in run.rows:
        cells[row.stage, row.app, row.step, row.case, row.check, row.metric][row.variant].append(row)
    made = [
        _score(arms["baseline"], arms["candidate"], better.get((key[1], key[5]), "higher"))
        for key, arms in cells.items()
    ]
    return sorted(made, key=lambda s: (_ORDER.index(s.outcome), s.app, s.case, s.step, s.check, s.metric, s.stage))


def mean(numbers: Iterable[float | None]) -> float | None:
    """The mean of the numbers that are not None; None where there is none."""
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def _score(baseline: list[Measurement], candidate: list[Measurement], better: str) -> Score:
    # With nothing changed one arm is measured; whichever it is stands for the app under review.
    arm = candidate or baseline
    was = mean(row.value for row in baseline) if candidate else None
    now = mean(row.value for row in arm)
    sign = -1.0 if better == "lower" else 1.0
    gain = None if was is None or now is None else sign * (now - was)
    worst = _worst(baseline, arm, sign)
    first = arm[0]
    return Score(
        stage=first.stage, app=first.app, step=first.step, case=first.case, check=first.check, metric=first.metric,
        unit=first.unit, slices=tuple(first.slices), baseline=was, candidate=now, gain=gain,
        outcome=_outcome(arm, bool(baseline and candidate), gain), reason=worst.reason, worst_repeat=worst.repeat,
        repeats=len({row.repeat for row in arm}), better=better,
    )  # fmt: skip


def _worst(baseline: list[Measurement], arm: list[Measurement], sign: float) -> Measurement:
    before = {row.repeat: row.value for row in baseline}

    def badness(row: Measurement) -> tuple[int, float, int]:
        if row.value is None:
            return (1 if row.status == "error" else 2, 0.0, row.repeat)
        return (0, sign * (row.value - (before.get(row.repeat) or 0.0)), row.repeat)

    scored = [row for row in arm if row.value is not None]
    return min(scored or arm, key=badness)


def _outcome(arm: list[Measurement], both: bool, gain: float | None) -> Outcome:
    if all(row.value is None for row in arm):
        return "error" if any(row.status == "error" for row in arm) else "unscored"
    if arm[0].unit not in QUALITY:
        return "cost"
    if gain is None:
        return "unscored" if both else "single"
    if abs(gain) < 1e-9:
        return "same"
    return "better" if gain > 0 else "worse"
