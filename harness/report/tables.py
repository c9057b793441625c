"""The tables of the page: slices, failures to measure, and every score."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from harness.report import figures
from harness.report.folder import Run
from harness.report.scores import QUALITY, Score, mean

ROWS = 5_000


class Cell(NamedTuple):
    """One metric on one slice: means over cases, and whether the difference is worse, better or none."""

    candidate: str
    baseline: str
    difference: str
    outcome: str
    cases: int


@dataclass(frozen=True, slots=True)
class SliceTable:
    """One app's means: a row per slice, a column per metric; None where a slice has no such row."""

    app: str
    metrics: list[str]
    rows: list[tuple[str, int, list[Cell | None]]]


@dataclass(frozen=True, slots=True)
class Lost:
    """Rows without a value that share one reason."""

    app: str
    variant: str
    where: str
    status: str
    reason: str
    count: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the full table, ready to print."""

    score: Score
    baseline: str
    candidate: str
    difference: str


def slice_tables(scored: list[Score]) -> list[SliceTable]:
    """One table per app; the row ``all`` stands first."""
    # What is measured of marts and adapters belongs to no slice of cases.
    scored = [score for score in scored if score.stage != "data"]
    apps = sorted({score.app for score in scored})
    return [table for table in (_slice_table(app, [s for s in scored if s.app == app]) for app in apps) if table.rows]


def lost_rows(run: Run) -> list[Lost]:
    """Everything without a value, grouped by reason; errors before unscored, the most frequent first."""
    lost = [
        Lost(why.app, why.variant, why.where, why.status, why.reason, group.count, group.examples)
        for why, group in run.losses.groups.items()
    ]
    return sorted(lost, key=lambda x: (x.status != "error", -x.count, x.app, x.where, x.variant, x.reason))


def lines(scored: list[Score]) -> tuple[list[Line], int]:
    """The first rows of the full table (what moved comes first) and how many are left out."""
    shown = [
        Line(s, figures.value(s.baseline, s.unit), figures.value(s.candidate, s.unit), _difference(s))
        for s in scored[:ROWS]
    ]
    return shown, max(0, len(scored) - ROWS)


def _difference(score: Score) -> str:
    if score.baseline is None or score.candidate is None:
        return ""
    return figures.difference(score.candidate - score.baseline, score.unit)


def _slice_table(app: str, scored: list[Score]) -> SliceTable:
    by_slice: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for score in scored:
        for name in dict.fromkeys(("all", *score.slices)):
            by_slice[name][_column(score)].append(score)
    metrics = sorted({_column(score) for score in scored})
    names = ["all", *sorted(set(by_slice) - {"all"})] if by_slice else []
    rows = []
    for name in names:
        columns = by_slice[name]
        cases = len({score.case for found in columns.values() for score in found})
        rows.append((name, cases, [_cell(columns[m]) if m in columns else None for m in metrics]))
    return SliceTable(app, metrics, rows)


def _column(score: Score) -> str:
    return f"{score.step} · {score.metric}" if score.step else score.metric


def _cell(found: list[Score]) -> Cell:
    unit = found[0].unit
    now, was = mean(s.candidate for s in found), mean(s.baseline for s in found)
    change = None if now is None or was is None else now - was
    gain = mean(s.gain for s in found) or 0.0
    outcome = "same"
    if unit in QUALITY and abs(gain) > 1e-9:
        outcome = "better" if gain > 0 else "worse"
    return Cell(
        candidate=figures.value(now, unit),
        baseline="" if was is None else figures.value(was, unit),
        difference="" if change is None else figures.difference(change, unit),
        outcome=outcome,
        cases=len({s.case for s in found}),
    )
