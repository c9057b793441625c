"""Cases that got worse or better, worst first, with both outputs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.report.diff import Piece, piece, word_diff
from harness.report.folder import Run
from harness.report.scores import Score


class Moved(NamedTuple):
    """One case whose scores moved: those that fell, those that rose, and how bad that is."""

    app: str
    case: str
    slices: tuple[str, ...]
    fell: tuple[Score, ...]
    rose: tuple[Score, ...]
    required: float
    total: float


@dataclass(frozen=True, slots=True)
class Pair:
    """The outputs of both arms for the app (``step`` empty) or for one of its steps; None where an arm has none."""

    step: str
    baseline: list[Piece] | None
    candidate: list[Piece] | None
    baseline_note: str = ""
    candidate_note: str = ""
    identical: bool = False


@dataclass(frozen=True, slots=True)
class CaseView:
    """One moved case as the page shows it; ``repeat`` is the one with the largest fall."""

    moved: Moved
    repeat: int
    group: str
    input: list[Piece]
    expect: list[tuple[str, list[Piece]]]
    pairs: list[Pair]


def moved_cases(run: Run, scored: list[Score]) -> tuple[list[Moved], list[Moved]]:
    """(cases where a check fell, cases where checks only rose), the largest move first."""
    gated = {(g.get("app"), g.get("metric")) for g in run.gates if g.get("required")}
    spread = _spread(scored)
    by_case: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scored:
        if score.outcome in ("worse", "better"):
            by_case[score.app, score.case].append(score)
    moved = [_moved(found, gated, spread) for found in by_case.values()]
    worse = [m for m in moved if m.fell]
    better = [m for m in moved if not m.fell]
    worse.sort(key=lambda m: (m.required, m.total, m.app, m.case))
    better.sort(key=lambda m: (-m.required, -m.total, m.app, m.case))
    return worse, better


def view(run: Run, moved: Moved) -> CaseView:
    """The case with its input, expectation and the diff of its outputs."""
    lead = (moved.fell or moved.rose)[0]
    repeat = lead.worst_repeat
    was = run.outputs.get((moved.app, "baseline", moved.case, repeat))
    now = run.outputs.get((moved.app, "candidate", moved.case, repeat))
    known = now or was or {}
    steps = dict.fromkeys(score.step for score in moved.fell if score.step)
    pairs = [_pair("", was, now)] if known else []
    pairs += [_pair(step, _step(was, step), _step(now, step)) for step in steps]
    expect = known.get("expect")
    return CaseView(
        moved=moved,
        repeat=repeat,
        group=str(known.get("group") or ""),
        input=_pieces(known.get("input")),
        expect=[(str(k), _pieces(v)) for k, v in expect.items()] if isinstance(expect, Mapping) else _whole(expect),
        pairs=[pair for pair in pairs if pair.baseline is not None or pair.candidate is not None],
    )


def outputs_of(run: Run, moved: Moved) -> tuple[str | None, str | None]:
    """The baseline's and the candidate's text for a moved case: the step's where only a step's check fell."""
    lead = (moved.fell or moved.rose)[0]
    texts: list[str | None] = []
    for variant in ("baseline", "candidate"):
        row = run.outputs.get((moved.app, variant, moved.case, lead.worst_repeat))
        found = _step(row, lead.step) if lead.step else row
        texts.append(None if found is None else _text(found.get("output")))
    return texts[0], texts[1]


def _moved(found: list[Score], gated: set[tuple[Any, Any]], spread: dict[tuple[str, str], float]) -> Moved:
    def size(score: Score) -> float:
        return (score.gain or 0.0) / spread[score.app, score.metric]

    first = found[0]
    by_size = sorted(found, key=lambda s: (size(s), s.step, s.check, s.metric))
    # A case that fell counts by its falls alone: a check that rose elsewhere does not make it good.
    fell = tuple(s for s in by_size if s.outcome == "worse")
    rose = tuple(s for s in reversed(by_size) if s.outcome == "better")
    counted = fell or rose
    required = sum(size(s) for s in counted if (s.app, s.metric) in gated)
    return Moved(first.app, first.case, first.slices, fell, rose, required, sum(size(s) for s in counted))


def _spread(scored: list[Score]) -> dict[tuple[str, str], float]:
    """How wide each metric ranges, at least 1, so that a judge's five points weigh as much as a share."""
    lowest: dict[tuple[str, str], float] = {}
    highest: dict[tuple[str, str], float] = {}
    for score in scored:
        key = score.app, score.metric
        for value in (score.baseline, score.candidate):
            if value is not None:
                lowest[key] = min(value, lowest.get(key, value))
                highest[key] = max(value, highest.get(key, value))
    return defaultdict(lambda: 1.0, {key: max(1.0, highest[key] - low) for key, low in lowest.items()})


def _step(row: Mapping[str, Any] | None, step: str) -> Mapping[str, Any] | None:
    found = ((row or {}).get("steps") or {}).get(step)
    return found if isinstance(found, Mapping) else None


def _pair(step: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Pair:
    before = None if was is None else _text(was.get("output"))
    after = None if now is None else _text(now.get("output"))
    if before is not None and after is not None:
        left, right = word_diff(before, after)
    else:
        left = [] if before is None else _pieces(before)
        right = [] if after is None else _pieces(after)
    return Pair(
        step=step,
        baseline=None if before is None else left,
        candidate=None if after is None else right,
        baseline_note=_note(was),
        candidate_note=_note(now),
        identical=before is not None and before == after,
    )


def _note(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    status = str(row.get("status") or "ok")
    return "" if status == "ok" else f"{status}: {row.get('reason') or 'no reason given'}"


def _whole(expect: Any) -> list[tuple[str, list[Piece]]]:
    return [] if expect in (None, "", []) else [("", _pieces(expect))]


def _pieces(content: Any) -> list[Piece]:
    text = _text(content)
    return [piece("same", text)] if text else []


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(entry, str) for entry in content):
        return "\n".join(content)
    return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1)
