"""SARIF and workflow commands: valid, at the right lines, and harmless whatever a model or an author wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.report import render_sarif
from harness.report.annotations import render_annotations
from tests.report.run_folder import Folder

# The part of the OASIS standard "SARIF 2.1.0" that Signoff writes: sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.29
# and 3.30. Nothing else may appear, so that a misspelt property cannot pass for an unknown one.
TEXT = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {"text": {"type": "string", "minLength": 1}},
}
LOCATION = {
    "type": "object",
    "required": ["physicalLocation"],
    "additionalProperties": False,
    "properties": {
        "physicalLocation": {
            "type": "object",
            "required": ["artifactLocation", "region"],
            "additionalProperties": False,
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    "required": ["uri", "uriBaseId"],
                    "additionalProperties": False,
                    # Relative references (RFC 3986) below the base: no scheme, no way up.
                    "properties": {
                        "uri": {"type": "string", "pattern": "^(?!/)(?!.*\\.\\./)[A-Za-z0-9._~%!$&'()*+,;=@/-]+$"},
                        "uriBaseId": {"const": "SRCROOT"},
                    },
                },
                "region": {
                    "type": "object",
                    "required": ["startLine"],
                    "additionalProperties": False,
                    "properties": {
                        "startLine": {"type": "integer", "minimum": 1},
                        "endLine": {"type": "integer", "minimum": 1},
                    },
                },
            },
        }
    },
}
RULE = {
    "type": "object",
    "required": ["id", "shortDescription"],
    "additionalProperties": False,
    "properties": {"id": {"type": "string", "minLength": 1}, "shortDescription": TEXT},
}
RESULT = {
    "type": "object",
    "required": ["ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"],
    "additionalProperties": False,
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": {"type": "array", "minItems": 1, "maxItems": 1, "items": LOCATION},
        "relatedLocations": {"type": "array", "minItems": 1, "uniqueItems": True, "items": LOCATION},
        "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results", "columnKind"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "version", "rules"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"const": "Signoff"},
                                    "version": {"type": "string"},
                                    "rules": {"type": "array", "uniqueItems": True, "items": RULE},
                                },
                            }
                        },
                    },
                    "automationDetails": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {"id": {"type": "string"}},
                    },
                    "originalUriBaseIds": {"type": "object"},
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": RESULT},
                },
            },
        },
    },
}
PROMPT = "prompts/support/reply/1.3.0.prompty"


def read(folder: Folder) -> list[dict[str, Any]]:
    """The results of the folder's SARIF, after it was held against the schema."""
    content = json.loads(render_sarif(folder.path))
    jsonschema.Draft202012Validator(SARIF).validate(content)
    (run,) = content["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
    results: list[dict[str, Any]] = run["results"]
    return results


def spot(location: dict[str, Any]) -> tuple[str, int, int | None]:
    """Path and lines of a location."""
    where = location["physicalLocation"]
    return where["artifactLocation"]["uri"], where["region"]["startLine"], where["region"].get("endLine")


@pytest.fixture
def failed(make_folder: Callable[..., Folder]) -> Folder:
    """A failed run of one app whose reply prompt changed in two places."""
    folder = make_folder("fail", cases=False)
    folder.manifest["places"] = {
        "changed": [
            {"app": "support", "path": PROMPT, "line": 12, "end": 14},
            {"app": "support", "path": PROMPT, "line": 20, "end": 20},
        ],
        "gates": {f"support/{gate['id']}": 2 + n for n, gate in enumerate(folder.verdict["gates"])},
    }
    return folder.save()


@pytest.mark.parametrize("decided", ["pass", "fail", "inconclusive", "error"])
def test_every_verdict_gives_valid_sarif(make_folder: Callable[..., Folder], decided: str) -> None:
    """The file follows the standard whatever was decided, also for a run without recorded places."""
    results = read(make_folder(decided).save())
    levels = {result["level"] for result in results}
    assert ("error" in levels) == (decided in ("fail", "error"))


def test_a_failed_gate_points_at_the_changed_lines(failed: Folder) -> None:
    """First where the change is, then the rest of it and the gate's own line."""
    gates = [gate for gate in failed.verdict["gates"] if gate["verdict"] == "fail" and gate["required"]]
    assert gates
    for gate in gates:
        (result,) = [one for one in read(failed) if one["ruleId"] == f"gate/support/{gate['id']}"]
        assert result["level"] == "error"
        assert [spot(where) for where in result["locations"]] == [(PROMPT, 12, 14)]
        line = 2 + failed.verdict["gates"].index(gate)
        assert [spot(where) for where in result["relatedLocations"]] == [
            (PROMPT, 20, 20),
            ("suites/support/gates.yaml", line, None),
        ]


def test_a_moved_yardstick_points_at_its_line(failed: Folder) -> None:
    """A deleted case is a warning at its file, an added one a note at its line."""
    failed.verdict["yardstick_moved"] = [
        {"app": "support", "kind": "case", "what": "case a deleted", "effect": "looser", "approval": True,
         "path": "suites/support/cases/all.jsonl", "line": 1},
        {"app": "support", "kind": "case", "what": "case b added", "effect": "harder", "approval": False,
         "path": "suites/support/cases/all.jsonl", "line": 7},
    ]  # fmt: skip
    results = [one for one in read(failed.save()) if one["ruleId"] == "yardstick/case"]
    assert [(one["level"], spot(one["locations"][0])[1]) for one in results] == [("warning", 1), ("note", 7)]


def test_attacks_that_succeeded_are_results(failed: Folder) -> None:
    """Findings of the safety stage are taken over; those of the baseline are not this change's doing."""
    found = {
        "id": "a1",
        "rule": "safety/canary",
        "level": "error",
        "message": "it told",
        "file": "suites/support/probes.yaml",
    }
    path = failed.path / "artifacts/safety/findings.json"
    path.parent.mkdir(parents=True)
    both = [found | {"variant": "candidate"}, found | {"variant": "baseline", "id": "a2"}]
    path.write_text(json.dumps({"format": 1, "kind": "attempts", "findings": both}))
    (result,) = [one for one in read(failed) if one["ruleId"] == "safety/canary"]
    assert (result["message"]["text"], spot(result["locations"][0])[0]) == ("it told", "suites/support/probes.yaml")


@pytest.mark.parametrize("content", ["", "[]", '{"findings": 3}', '{"findings": ["x", 1]}', "\x00"])
def test_broken_findings_break_nothing(failed: Folder, content: str) -> None:
    """A findings file of another shape leaves the rest of the report."""
    path = failed.path / "artifacts/safety/findings.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert any(one["ruleId"].startswith("gate/") for one in read(failed))


def test_the_same_finding_has_the_same_fingerprint(failed: Folder) -> None:
    """Other numbers and other lines are the same alert."""
    before = {one["ruleId"]: one["partialFingerprints"] for one in read(failed)}
    for gate in failed.verdict["gates"]:
        gate["reason"] = "other numbers"
    failed.manifest["places"]["changed"][0]["line"] = 13
    assert {one["ruleId"]: one["partialFingerprints"] for one in read(failed.save())} == before


def test_annotations_stand_at_the_changed_lines(failed: Folder) -> None:
    """Errors come first, at most ten of a kind, each with file, lines and title."""
    lines = render_annotations(failed.path).splitlines()
    assert lines[0].startswith(f"::error file={PROMPT},line=12,title=Signoff%3A gate/support/")
    assert "endLine=14::gate support/" in lines[0]
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds == sorted(kinds, key=["::error", "::warning", "::notice"].index)
    assert max(map(kinds.count, set(kinds))) <= 10


def test_nothing_in_a_finding_ends_its_command(failed: Folder) -> None:
    """Line ends, percent signs, colons and commas of a reason or a path stay text."""
    failed.verdict["gates"] = failed.verdict["gates"][:1]
    gate = failed.verdict["gates"][0]
    gate["verdict"], gate["required"] = "fail", True
    gate["reason"] = "100%\n::set-env name=PATH::x\r\n::error::no, really\u2028::debug::y"
    failed.manifest["places"]["changed"] = [{"app": "support", "path": "a,b:c\n::x.py", "line": 3, "end": 3}]
    (line,) = [one for one in render_annotations(failed.save().path).splitlines() if one.startswith("::error")]
    assert "file=a%2Cb%3Ac%0A%3A%3Ax.py," in line
    assert "100%25 ⏎ ::set-env" in line
    assert len(render_annotations(failed.path).splitlines()) == len(render_annotations(failed.path).split("\n")) - 1


def test_the_command_leaves_the_file(tmp_path: Path) -> None:
    """A real run writes ``findings.sarif`` and ``comment.json`` with the rest, and lists their digests."""
    from tests.run.project import ALWAYS_OTHER, make_project

    project = make_project(tmp_path)
    project.branch()
    project.write({"suites/desk/desk.py": ALWAYS_OTHER})
    assert project.run("gate") == 1
    content = project.file("findings.sarif")
    jsonschema.Draft202012Validator(SARIF).validate(content)
    first = content["runs"][0]["results"][0]
    assert spot(first["locations"][0]) == ("suites/desk/desk.py", 2, 2)
    assert {"findings.sarif", "comment.json"} <= set(project.file("run.json")["files"])
