"""The report for code scanning: SARIF 2.1.0, each finding at the lines of the change that it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from harness import __version__
from harness.report.folder import Run, read_run
from harness.report.visible import as_text

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MESSAGE = 1_000
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Place:
    """Lines ``line`` to ``end`` (1-based) of a file of the repository."""

    path: str
    line: int = 1
    end: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One result: ``rule`` is its stable name, ``about`` says what rules of that name mean.

    ``place`` is where to look first, ``related`` what it has to do with.
    """

    rule: str
    about: str
    level: Level
    message: str
    place: Place
    related: tuple[Place, ...] = ()


def render_sarif(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``findings.sarif`` of a run folder."""
    return sarif(read_run(run_dir, manifest, verdict), run_dir)


def sarif(run: Run, run_dir: Path) -> str:
    """``findings.sarif`` of a run that has been read from ``run_dir``."""
    found = list(findings(run, run_dir))
    rules = {finding.rule: finding.about for finding in found}
    driver = {
        "name": "Signoff",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": about}} for rule, about in sorted(rules.items())],
    }
    content = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": f"signoff/{run.verdict.get('profile') or 'unknown'}/"},
                "originalUriBaseIds": {"SRCROOT": {"description": {"text": "the root of the repository"}}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, sorted(rules).index(finding.rule)) for finding in found],
            }
        ],
    }
    return json.dumps(content, ensure_ascii=True, indent=1) + "\n"


def findings(run: Run, run_dir: Path) -> Iterator[Finding]:
    """What stands against the run: gates, stages that broke, the yardstick, attacks that succeeded."""
    yield from _gates(run)
    yield from _stages(run)
    yield from _moves(run)
    yield from _attacks(run_dir)


def changed_places(run: Run, app: str) -> list[Place]:
    """The changed lines of an app, as the run recorded them."""
    listed = (run.manifest.get("places") or {}).get("changed") or ()
    return [Place(one["path"], one["line"], one["end"]) for one in listed if one["app"] == app]


def gate_place(run: Run, app: str, gate: str) -> Place:
    """Where a gate is declared."""
    lines = (run.manifest.get("places") or {}).get("gates") or {}
    return Place(f"suites/{app}/gates.yaml", int(lines.get(f"{app}/{gate}", 1)))


def _gates(run: Run) -> Iterator[Finding]:
    for gate in run.gates:
        decided = str(gate["verdict"])
        if decided not in ("fail", "inconclusive"):
            continue
        app, name = str(gate["app"]), str(gate["id"])
        declared, changed = gate_place(run, app, name), changed_places(run, app)
        level: Level = "note"
        if gate["required"]:
            level = "error" if decided == "fail" else "warning"
        word = "failed" if decided == "fail" else "is undecided"
        where, related = (changed[0], (*changed[1:], declared)) if changed else (declared, ())
        yield Finding(
            f"gate/{app}/{name}",
            f"gate {name} of app {app} passes",
            level,
            f"gate {app}/{name} {word}: {gate['reason'] or 'no reason given'}",
            where,
            related,
        )


def _stages(run: Run) -> Iterator[Finding]:
    for stage in run.stages:
        if stage["status"] == "broken":
            text = f"stage {stage['name']} broke: {stage['reason']}"
            app = run.apps[0] if run.apps else "app"
            place = Place(f"suites/{app}/suite.yaml")
            yield Finding(f"stage/{stage['name']}", f"stage {stage['name']} runs to its end", "error", text, place)


def _moves(run: Run) -> Iterator[Finding]:
    for move in run.verdict.get("yardstick_moved") or ():
        waits = " and needs an approval" if move["approval"] else ""
        text = f"{move['app']}: the yardstick moved ({move['effect']}){waits}: {move['what']}"
        level: Level = "warning" if move["approval"] else "note"
        place = Place(move.get("path") or f"suites/{move['app']}/suite.yaml", int(move.get("line") or 1))
        yield Finding(f"yardstick/{move['kind']}", f"what measures an app ({move['kind']}) stays", level, text, place)


def _attacks(run_dir: Path) -> Iterator[Finding]:
    for one in _read(run_dir / "artifacts" / "safety" / "findings.json"):
        # What the baseline lets through as well is not the doing of this change.
        if one.get("variant") == "baseline":
            continue
        rule, level = str(one.get("rule") or "safety"), one.get("level")
        path = str(one.get("file") or "suites")
        yield Finding(
            rule, f"attempts of {rule} are resisted", "warning" if level == "warning" else "error",
            str(one.get("message") or one.get("id") or "no message"), Place(path),
        )  # fmt: skip


def _read(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ()
    listed = content.get("findings") if isinstance(content, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else ()


def _result(finding: Finding, index: int) -> dict[str, Any]:
    text = as_text(finding.message)[:MESSAGE]
    # The same finding on the next push is the same alert: neither numbers nor lines are part of its name.
    name = hashlib.sha256(f"{finding.rule}\0{finding.place.path}".encode()).hexdigest()
    result = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": text},
        "locations": [_location(finding.place)],
        "partialFingerprints": {"signoff/v1": name},
    }
    if finding.related:
        result["relatedLocations"] = [_location(place) for place in finding.related]
    return result


def _location(place: Place) -> dict[str, Any]:
    region = {"startLine": max(1, place.line)} | ({"endLine": place.end} if place.end >= max(1, place.line) else {})
    artifact = {"uri": quote(place.path), "uriBaseId": "SRCROOT"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}}
