"""The report for people: one HTML file that needs no network, no script and no trust in what a model wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import axis, figures
from harness.report.cases import moved_cases, view
from harness.report.changes import app_changes
from harness.report.coverage import not_covered
from harness.report.folder import Run, read_run
from harness.report.outputs import OUTPUTS
from harness.report.scores import Score
from harness.report.tables import lines, lost_rows, slice_tables
from harness.report.template import fill

SHOWN_WORSE = 40
SHOWN_BETTER = 20
SHOWN_LOST = 60
SHOWN_FOUND = 4

WORDS = {
    "pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive", "error": "Error",
    "not_applicable": "Not applicable",
}  # fmt: skip

MEANINGS = {
    "pass": "Every required gate that applies passed. This may ship.",
    "fail": "A required gate failed. This must not ship.",
    "inconclusive": "No required gate failed, but at least one could not be decided. Undecided blocks like a failure.",
    "error": "Signoff or something it depends on broke, so the run as a whole decides nothing.",
}

APPROVED = "A required gate could not be decided. A named person approved exactly these digests all the same."

_SEVERITY = {"fail": 0, "inconclusive": 1, "pass": 2, "not_applicable": 3}


@dataclass(frozen=True, slots=True)
class GateRow:
    """A gate with its numbers as text and its place on the axis."""

    gate: Mapping[str, Any]
    whisker: axis.Whisker
    word: str
    estimate: str
    interval: str
    bound: str
    arms: str
    detectable: str


@dataclass(frozen=True, slots=True)
class StageCard:
    """One stage on the first screen: its worst required gate, what its gates say, what it found.

    ``against``: a gate of it, advisory or not, failed, a required one is undecided, or it broke; a stage without gates
    speaks against the run when it found anything.
    """

    stage: Mapping[str, Any]
    kind: str
    word: str
    counts: list[str]
    found: list[str]
    against: bool


def render_html(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``report.html`` of a run folder; the same folder gives the same text.

    ``manifest`` and ``verdict`` are read from the folder where they are not given. SignoffError: neither is there.
    """
    return page(read_run(run_dir, manifest, verdict))


def page(run: Run) -> str:
    """``report.html`` of a run that has been read."""
    text = fill("report.html.j2", _context(run))
    # A lone surrogate has no UTF-8; everything from a model is already named by `visible`, this is for the rest.
    return text.encode("utf-8", "replace").decode("utf-8")


def gate_rows(run: Run) -> list[GateRow]:
    """The gates, the worst verdict first, each with its whisker; required and advisory gates share the scales."""
    unit_of = run.units
    gates = sorted(run.gates, key=lambda g: (_SEVERITY.get(str(g["verdict"]), 1), str(g["app"]), str(g["id"])))
    named = [gate_unit(gate, unit_of) for gate in gates]
    drawn = axis.whiskers(gates, named)
    return [_gate_row(gate, unit, whisker) for gate, unit, whisker in zip(gates, named, drawn, strict=True)]


def gate_unit(gate: Mapping[str, Any], unit_of: Mapping[tuple[str, str], str]) -> str:
    """The unit of a gate: its own, else its metric's, else a share where the numbers look like one."""
    known = gate.get("unit") or unit_of.get((str(gate.get("app", "")), str(gate.get("metric", ""))))
    if gate.get("statistic") == "total" and known in (None, "share"):
        return ""
    if known:
        return str(known)
    numbers = [abs(float(gate[k])) for k in ("candidate", "baseline", "threshold") if gate.get(k) is not None]
    return "share" if all(number <= 1 for number in numbers) else ""


def _gate_row(gate: Mapping[str, Any], unit: str, whisker: axis.Whisker) -> GateRow:
    was, now = gate.get("baseline"), gate.get("candidate")
    arms = f"{figures.value(was, unit)} → {figures.value(now, unit)}" if was is not None and now is not None else ""
    detectable = gate.get("detectable")
    smallest = figures.difference(abs(float(detectable)), unit).lstrip("+") if detectable is not None else figures.NONE
    return GateRow(
        gate=gate,
        whisker=whisker,
        word=WORDS.get(str(gate.get("verdict")), str(gate.get("verdict"))),
        estimate=figures.estimate(gate, gate.get("estimate"), unit),
        interval=figures.interval(gate, unit),
        bound=figures.bound(gate, unit),
        arms=arms,
        detectable=smallest,
    )


def _context(run: Run) -> dict[str, Any]:
    scored = run.scores
    worse, better = moved_cases(run, scored)
    rows = gate_rows(run)
    changes = app_changes(run)
    shown, left_out = lines(scored)
    lost = lost_rows(run)
    decided = str(run.verdict.get("verdict") or "error")
    return {
        "run": run,
        "verdict": run.verdict,
        "manifest": run.manifest,
        "decided": decided,
        "word": WORDS.get(decided, decided),
        "meaning": APPROVED if run.verdict["approval"] else MEANINGS.get(decided, ""),
        "approval": _approval(run.verdict["approval"]),
        "counts": _verdict_counts(rows),
        "changes": changes,
        "cards": stage_cards(run),
        "required": [row for row in rows if row.gate.get("required", True)],
        "advisory": [row for row in rows if not row.gate.get("required", True)],
        "tally": _tally(scored),
        "worse": [view(run, moved) for moved in worse[:SHOWN_WORSE]],
        "worse_count": len(worse),
        "better": better[:SHOWN_BETTER],
        "better_count": len(better),
        "lost": lost[:SHOWN_LOST],
        "lost_count": len(lost),
        "slices": slice_tables(scored),
        "lines": shown,
        "left_out": left_out,
        "outputs_path": OUTPUTS,
        "facts": _identity(run.manifest),
        "gaps": not_covered(run, changes),
    }


def stage_cards(run: Run) -> list[StageCard]:
    """What each stage cost and found, in the order in which they ran; one that a gate waits for is never green."""
    cards = []
    for stage in run.stages:
        gates = [gate for gate in run.gates if gate["stage"] == stage["name"]]
        required = Counter(str(gate["verdict"]) for gate in gates if gate["required"])
        worst = min(required, key=lambda kind: _SEVERITY.get(kind, 1), default="not_applicable")
        broken = stage["status"] == "broken"
        kind = "error" if broken and worst != "fail" else worst
        told = [f"{required[kind]} {WORDS.get(kind, kind).lower()}" for kind in _SEVERITY if required[kind]]
        counts = [f"required gates: {', '.join(told)}"] if told else []
        advisory = Counter(str(gate["verdict"]) for gate in gates if not gate["required"])
        told = [f"{advisory[kind]} {WORDS.get(kind, kind).lower()}" for kind in _SEVERITY if advisory[kind]]
        counts += [f"advisory: {', '.join(told)}"] if told else []
        word = WORDS[kind] if required else "Advisory" if gates else "No gate"
        word = word if stage["status"] == "ok" else str(stage["status"]).capitalize()
        found = list(stage["found"] or ())[:SHOWN_FOUND]
        failed = any(gate["verdict"] == "fail" for gate in gates)
        against = failed or kind in ("inconclusive", "error") or (not gates and bool(found))
        cards.append(StageCard(stage, kind, word, counts, found, against))
    return cards


def _verdict_counts(rows: list[GateRow]) -> list[tuple[str, str, int]]:
    """(verdict, word, number) of the required gates, the worst first."""
    found = Counter(str(row.gate.get("verdict")) for row in rows if row.gate.get("required", True))
    return [(kind, WORDS.get(kind, kind).lower(), found[kind]) for kind in _SEVERITY if found[kind]]


def _tally(scored: list[Score]) -> list[tuple[str, int]]:
    """How many cases got worse, could not be measured, got better, stayed; each case counted once, by its worst."""
    order = ("worse", "lost", "better", "same")
    names = {"worse": "worse", "error": "lost", "unscored": "lost", "better": "better", "same": "same"}
    of_case: dict[tuple[str, str], int] = {}
    for score in scored:
        kind = names.get(score.outcome)
        # Requests of a load test, attacks and marts are no cases; their stages count them.
        if kind is not None and score.case and score.stage not in ("load", "safety", "data"):
            at = order.index(kind)
            of_case[score.app, score.case] = min(at, of_case.get((score.app, score.case), at))
    found = Counter(of_case.values())
    paired = any(score.outcome in ("worse", "better", "same") for score in scored)
    return [(name, found[at]) for at, name in enumerate(order)] if paired else []


def _identity(manifest: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(heading, name and text pairs) of what was run, on what and with what."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    plain = [
        (label, _said(manifest[key]))
        for key, label in (
            ("run_id", "run"), ("profile", "profile"), ("started", "started"), ("finished", "finished"),
            ("commit", "commit"), ("dirty", "uncommitted changes"), ("baseline_ref", "baseline"),
            ("baseline_commit", "baseline commit"), ("baseline_reason", "chosen because"),
        )
        if manifest.get(key) is not None
    ]  # fmt: skip
    groups.append(("Run", plain))
    for key, label in (
        ("versions", "Versions"),
        ("machine", "Machine"),
        ("seeds", "Seeds"),
        ("yardstick", "Yardstick"),
    ):
        found = manifest.get(key)
        if isinstance(found, Mapping):
            groups.append((label, [(str(name), _said(entry)) for name, entry in found.items()]))
        elif found not in (None, "", []):
            groups.append((label, [(label.lower(), _said(found))]))
    return [(label, pairs) for label, pairs in groups if pairs]


def _approval(found: Any) -> list[tuple[str, str]]:
    """Who approved what and until when; the digests it is bound to are those of this run and stand elsewhere."""
    if not isinstance(found, Mapping):
        return []
    plain = {name: entry for name, entry in found.items() if entry and not isinstance(entry, Mapping)}
    return [(str(k), ", ".join(map(str, v)) if isinstance(v, list) else _said(v)) for k, v in plain.items()]


def _said(entry: Any) -> str:
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    return entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False, sort_keys=True)
