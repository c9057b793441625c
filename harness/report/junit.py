"""The report for machines that read JUnit: one testcase per case and check, one per gate, names that stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from harness.report import figures
from harness.report.folder import Run, read_run
from harness.report.page import gate_unit
from harness.report.scores import QUALITY, Score, scores, units
from harness.report.visible import as_text

MESSAGE = 2_000


def render_junit(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``junit.xml`` of a run folder.

    A share at its bad end (0, or 1 where lower is better) is a failure, a row that could not be measured an error, an
    unscored one skipped. The suite ``gates`` holds the gates: failed and inconclusive ones are failures of those types.
    Rows of time and tokens are judged by gates alone, so they are no testcases.
    """
    return junit(read_run(run_dir, manifest, verdict))


def junit(run: Run) -> str:
    """``junit.xml`` of a run that has been read."""
    root = ET.Element("testsuites", name="signoff")
    quality = [s for s in scores(run) if s.unit in QUALITY]
    started = str(run.manifest.get("started") or "")
    for app in sorted({score.app for score in quality}):
        mine = sorted((s for s in quality if s.app == app), key=lambda s: (s.case, s.step, s.check, s.metric, s.stage))
        _suite(root, app, [_case(score) for score in mine], started)
    unit_of = units(run)
    _suite(root, "gates", [_gate(gate, gate_unit(gate, unit_of)) for gate in run.gates], started)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    if run.verdict.get("wall_s") is not None:
        root.set("time", f"{float(run.verdict['wall_s']):.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, name: str, cases: list[ET.Element], started: str) -> None:
    suite = ET.SubElement(root, "testsuite", name=as_text(name), tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    if started:
        suite.set("timestamp", as_text(started))
    suite.extend(cases)


def _case(score: Score) -> ET.Element:
    classname = ".".join(part for part in (score.app, score.stage, score.step, score.check) if part)
    name = score.case or "all cases"
    if score.metric not in ("", score.check):
        name = f"{name} [{score.metric}]"
    case = _testcase(
        classname,
        name,
        {
            "case": score.case,
            "metric": score.metric,
            "unit": score.unit,
            "score": score.candidate,
            "baseline": score.baseline,
            "repeats": score.repeats if score.repeats > 1 else None,
            "slices": ", ".join(score.slices) or None,
        },
    )
    if score.outcome == "error":
        _outcome(case, "error", "error", score.reason or "no reason given")
    elif score.candidate is None:
        _outcome(case, "skipped", "", score.reason or "unscored, no reason given")
    elif score.failed:
        was = "" if score.baseline is None else f" (baseline {figures.value(score.baseline, score.unit)})"
        _outcome(
            case,
            "failure",
            "check",
            (score.reason or f"{score.label} is {figures.value(score.candidate, score.unit)}") + was,
        )
    return case


def _gate(gate: Mapping[str, Any], unit: str) -> ET.Element:
    numbers = (
        "metric", "slice", "rule", "required", "n", "estimate", "low", "high", "confidence", "threshold",
        "baseline", "candidate", "detectable", "p_value", "p_adjusted", "errors", "unscored", "method",
    )  # fmt: skip
    properties = {"score" if key == "estimate" else key: gate.get(key) for key in numbers}
    case = _testcase(f"{gate.get('app')}.gates", str(gate.get("id")), properties | {"unit": unit or None})
    decided, reason = str(gate.get("verdict")), str(gate.get("reason") or "no reason given")
    if not gate.get("required", True):
        reason = f"advisory: {reason}"
    if decided == "not_applicable":
        _outcome(case, "skipped", "", reason)
    elif decided != "pass":
        _outcome(case, "failure", decided, reason + _numbers(gate, unit))
    return case


def _numbers(gate: Mapping[str, Any], unit: str) -> str:
    if gate.get("estimate") is None:
        return ""
    got = f"{figures.estimate(gate, gate['estimate'], unit)} {figures.interval(gate, unit)}".strip()
    return f" (got {got}, wanted {figures.bound(gate, unit)})"


def _testcase(classname: str, name: str, properties: Mapping[str, Any]) -> ET.Element:
    case = ET.Element("testcase", classname=as_text(classname), name=as_text(name))
    holder = ET.SubElement(case, "properties")
    for key, entry in properties.items():
        if entry is not None:
            text = repr(entry) if isinstance(entry, float) else str(entry)
            ET.SubElement(holder, "property", name=key, value=as_text(text))
    return case


def _outcome(case: ET.Element, tag: str, kind: str, reason: str) -> None:
    message = as_text(reason)[:MESSAGE]
    child = ET.SubElement(case, tag, {"type": kind, "message": message} if kind else {"message": message})
    child.text = message if tag != "skipped" else None
