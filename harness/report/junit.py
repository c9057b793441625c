"""The report for machines that read JUnit: one testcase per case and check, one per gate, names that stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from harness.report import figures
from harness.report.folder import Run, read_run
from harness.report.page import gate_unit
from harness.report.scores import QUALITY, Score
from harness.report.visible import as_text

MESSAGE = 2_000
# Letters, digits and signs that stand for themselves in XML: nearly every attribute, checked in one step.
_PLAIN = re.compile(r"[ !#-%'-;=?-~]*")


def render_junit(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``junit.xml`` of a run folder.

    A share at its bad end (0, or 1 where lower is better) is a failure, a row that could not be measured an error, an
    unscored one skipped. The suite ``gates`` holds the gates: failed and inconclusive ones are failures of those types.
    Rows of time and tokens are judged by gates alone, so they are no testcases.
    """
    return "".join(junit(read_run(run_dir, manifest, verdict)))


def junit(run: Run) -> Iterator[str]:
    """``junit.xml`` of a run that has been read, in pieces: a large run has more of it than memory should hold."""
    quality = [s for s in run.scores if s.unit in QUALITY]
    gates = [_gate(gate, gate_unit(gate, run.units)) for gate in run.gates]
    by_app: dict[str, list[Score]] = {}
    for score in quality:
        by_app.setdefault(score.app, []).append(score)
    counts = {app: _counts(_outcome(score) for score in by_app[app]) for app in sorted(by_app)}
    of_gates = _counts(gate.outcome for gate in gates)
    total = {name: str(sum(int(one[name]) for one in (*counts.values(), of_gates))) for name in of_gates}
    if run.verdict.get("wall_s") is not None:
        total["time"] = f"{float(run.verdict['wall_s']):.3f}"
    started = {"timestamp": str(run.manifest["started"])} if run.manifest.get("started") else {}
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f"<testsuites{_attributes({'name': 'signoff', **total})}>\n"
    for app, count in counts.items():
        mine = sorted(by_app[app], key=lambda s: (s.case, s.step, s.check, s.metric, s.stage))
        yield from _suite({"name": app, **count, **started}, map(_case, mine))
    yield from _suite({"name": "gates", **of_gates, **started}, iter(gates))
    yield "</testsuites>\n"


class _Outcome(NamedTuple):
    """``tag`` is failure, error or skipped; empty for a pass."""

    tag: str = ""
    kind: str = ""
    reason: str = ""


class _Testcase(NamedTuple):
    classname: str
    name: str
    properties: Mapping[str, Any]
    outcome: _Outcome


def _counts(outcomes: Iterator[_Outcome]) -> dict[str, str]:
    found = Counter(outcome.tag for outcome in outcomes)
    numbers = {"failures": found["failure"], "errors": found["error"], "skipped": found["skipped"]}
    return {"tests": str(found.total())} | {name: str(number) for name, number in numbers.items()}


def _suite(attributes: Mapping[str, str], cases: Iterator[_Testcase]) -> Iterator[str]:
    yield f"  <testsuite{_attributes(attributes)}>\n"
    yield from map(_testcase, cases)
    yield "  </testsuite>\n"


def _attributes(pairs: Mapping[str, str]) -> str:
    return "".join(f' {name}="{_quoted(text)}"' for name, text in pairs.items())


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    # A parser would read a bare tab or line end in an attribute as a blank.
    return escape(as_text(text), {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})


def _testcase(case: _Testcase) -> str:
    lines = [f"    <testcase{_attributes({'classname': case.classname, 'name': case.name})}>", "      <properties>"]
    for key, entry in case.properties.items():
        if entry is not None:
            text = repr(entry) if isinstance(entry, float) else str(entry)
            lines.append(f'        <property name="{key}" value="{_quoted(text)}" />')
    lines.append("      </properties>")
    tag, kind, reason = case.outcome
    if tag:
        message = as_text(reason)[:MESSAGE]
        head = f"      <{tag}{_attributes({'type': kind, 'message': message} if kind else {'message': message})}"
        lines.append(f"{head} />" if tag == "skipped" else f"{head}>{escape(message)}</{tag}>")
    return "\n".join([*lines, "    </testcase>\n"])


def _case(score: Score) -> _Testcase:
    classname = ".".join(part for part in (score.app, score.stage, score.step, score.check) if part)
    name = score.case or "all cases"
    if score.metric not in ("", score.check):
        name = f"{name} [{score.metric}]"
    properties = {
        "case": score.case,
        "metric": score.metric,
        "unit": score.unit,
        "score": score.candidate,
        "baseline": score.baseline,
        "repeats": score.repeats if score.repeats > 1 else None,
        "slices": ", ".join(score.slices) or None,
    }
    return _Testcase(classname, name, properties, _outcome(score))


def _outcome(score: Score) -> _Outcome:
    if score.outcome == "error":
        return _Outcome("error", "error", score.reason or "no reason given")
    if score.candidate is None:
        return _Outcome("skipped", "", score.reason or "unscored, no reason given")
    if score.failed:
        was = "" if score.baseline is None else f" (baseline {figures.value(score.baseline, score.unit)})"
        reason = score.reason or f"{score.label} is {figures.value(score.candidate, score.unit)}"
        return _Outcome("failure", "check", reason + was)
    return _Outcome()


def _gate(gate: Mapping[str, Any], unit: str) -> _Testcase:
    numbers = (
        "metric", "slice", "rule", "required", "n", "estimate", "low", "high", "confidence", "threshold",
        "baseline", "candidate", "detectable", "p_value", "p_adjusted", "errors", "unscored", "method",
    )  # fmt: skip
    properties = {"score" if key == "estimate" else key: gate.get(key) for key in numbers}
    decided, reason = str(gate.get("verdict")), str(gate.get("reason") or "no reason given")
    if not gate.get("required", True):
        reason = f"advisory: {reason}"
    outcome = _Outcome()
    if decided == "not_applicable":
        outcome = _Outcome("skipped", "", reason)
    elif decided != "pass":
        outcome = _Outcome("failure", decided, reason + _numbers(gate, unit))
    return _Testcase(f"{gate.get('app')}.gates", str(gate.get("id")), properties | {"unit": unit or None}, outcome)


def _numbers(gate: Mapping[str, Any], unit: str) -> str:
    if gate.get("estimate") is None:
        return ""
    got = f"{figures.estimate(gate, gate['estimate'], unit)} {figures.interval(gate, unit)}".strip()
    return f" (got {got}, wanted {figures.bound(gate, unit)})"
