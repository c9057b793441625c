"""The stage that runs the real promptfoo: its verdicts become rows, and it agrees with our checks."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.peers import programs
from tests.run.project import GATES, Project, make_project

pytestmark = pytest.mark.peer
pytest.importorskip("promptfoo", reason="the extra 'judges' is not installed")

DESK = """\
import json

def label(message):
    if "raw" in message:
        return message
    return "refund: money back" if "money" in message else "other, as ever"
"""
SUITE = """\
slices:
  money: about money
checks:
  - {id: right, check: contains, expect: label}
  - {id: whole, check: exact_match, expect: text}
  - {id: short, check: length, with: {unit: words, minimum: 1, maximum: 3}}
  - {id: near, check: promptfoo, expect: near}
  - {id: nowhere, check: edit_similarity, expect: text}
"""
PROMPTFOO = """\
cases: 12
assertions:
  polite: {type: not-icontains, value: stupid}
  scripted: {type: javascript, value: "output.includes(context.vars.expect.label)"}
"""
HOSTILE = 'raw {{ 7 * 7 }} {% if %} "quoted" file://etc {{env.HOME}}'


def cases() -> str:
    """Twelve cases; the last one's text reads like a template."""
    rows = []
    for number in range(12):
        text = f"message {number} about {'money' if number % 2 else 'socks'}"
        answer = "refund: money back" if number % 2 else "other, as ever"
        if number == 11:
            text = answer = HOSTILE
        rows.append(
            {
                "id": f"case-{number:02}",
                "inputs": {"message": text},
                "expect": {
                    "label": answer.split(":")[0].split(",")[0],
                    "text": answer if number != 3 else "something else",
                    "near": {"assert": [{"type": "levenshtein", "value": answer, "threshold": 2},
                                        {"type": "contains", "value": "zebra"}], "threshold": 0.5},
                },
                "slices": ["money"] if number % 2 else [],
            }
        )  # fmt: skip
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The sample app with a suite that promptfoo can be asked about."""
    _, entry = programs.promptfoo()
    monkeypatch.setenv("SIGNOFF_PROMPTFOO", str(entry.parents[4]))
    return make_project(
        tmp_path,
        files={
            "suites/desk/desk.py": DESK,
            "suites/desk/suite.yaml": SUITE,
            "suites/desk/cases/all.jsonl": cases(),
            "suites/desk/promptfoo.yaml": PROMPTFOO,
            "suites/desk/gates.yaml": GATES.replace("level, metric: right", "level, metric: promptfoo.right"),
        },
    )


def test_both_arms_are_judged(project: Project) -> None:
    """Every case of both arms has a row for each assertion, joined by the case's id, with our check's value."""
    project.branch()
    project.edit("suites/desk/desk.py", "refund: money", "Refund: money")
    assert project.run("gate", "--profile", "nightly", "--only", "promptfoo", "--only", "regression") in (1, 2)
    rows = project.rows("measurements/promptfoo.jsonl")
    assert {row["status"] for row in rows} == {"scored"}
    names = {"passed", "right", "whole", "short", "near", "polite", "scripted"}
    assert {row["metric"] for row in rows} == {f"promptfoo.{name}" for name in names}
    assert {(row["case"], row["variant"]) for row in rows} == {
        (f"case-{number:02}", arm) for number in range(12) for arm in ("baseline", "candidate")
    }
    ours = {(row["case"], row["variant"], row["metric"]): row["value"] for row in project.rows()}
    for row in rows:
        name = row["metric"].removeprefix("promptfoo.")
        if name in {"right", "whole", "short", "near"}:
            assert row["value"] == ours[row["case"], row["variant"], name], row
    stage = next(each for each in project.file("run.json")["stages"] if each["name"] == "promptfoo")
    assert any("agree on 96 of 96 judgements" in sentence for sentence in stage["found"]), stage["found"]
    outputs = {row["case"]: row["output"] for row in project.rows("artifacts/promptfoo/outputs.jsonl")}
    assert outputs["case-11"] == HOSTILE


def test_a_run_of_another_profile_leaves_it_out(project: Project) -> None:
    """A pull request does not pay for promptfoo unless the file says so; its gates are then undecided."""
    assert project.run("gate") == 2
    stage = next(each for each in project.file("run.json")["stages"] if each["name"] == "promptfoo")
    assert stage["status"] == "skipped" and "profile pr" in stage["reason"]


def test_a_promptfoo_that_hangs_is_stopped_with_its_children(project: Project) -> None:
    """The time is up: the stage alone is broken, exit code 3, and nothing it started is left."""
    project.edit("suites/desk/promptfoo.yaml", "cases: 12", "cases: 12\ntimeout_s: 6")
    project.edit("suites/desk/promptfoo.yaml", "output.includes(context.vars.expect.label)",
                 "new Promise(() => setInterval(() => 0, 1000))")  # fmt: skip
    assert project.run("gate", "--profile", "nightly") == 3
    stages = {each["name"]: each for each in project.file("run.json")["stages"]}
    assert "did not end within 6 s and was stopped" in stages["promptfoo"]["reason"]
    assert stages["regression"]["status"] == "ok"
    left = [
        path for path in Path("/proc").glob("[0-9]*/cwd")
        if path.exists() and str(path.resolve()).startswith(str(project.root))
    ]  # fmt: skip
    assert left == []
