"""Branches that no case reaches: foretold by ``check``, measured by a run, said on the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from harness.run.branches import unreachable
from harness.run.check import check
from harness.spec.repository import load_repository
from tests.run.project import Project, Stub
from tests.run.ruled import answered, cases, ruled_project

APP = "suites/desk/app.yaml"
LONG = (
    "desk: no case reaches branch 'long' of step 'sort', so desk/sort/1.2.0 is not measured there; "
    "add a case that meets: context.length > 40"
)
ELSE = (
    "desk: no case reaches branch 'else' of step 'sort', so desk/sort/1.0.0 is not measured there; "
    "add a case that meets none of the rules"
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The model of the ruled app."""
    with answered(monkeypatch) as stub:
        yield stub


def foretold(project: Project) -> list[str]:
    """What ``check`` says of branches."""
    return unreachable(load_repository(project.root))


def test_check_tells_branches_that_no_case_can_reach(tmp_path: Path) -> None:
    """Conditions over inputs and facts are tried on the cases without a model."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    assert foretold(project) == [LONG]
    assert LONG in check(project.root, tmp_path).warnings
    project.write({"suites/desk/cases/all.jsonl": cases(20, gold=20)})
    assert foretold(project) == [LONG, ELSE]
    project.write(
        {
            "suites/desk/cases/long.jsonl": orjson.dumps(
                {"id": "long", "messages": [{"role": "user", "content": "x" * 41}], "inputs": {"tier": "none"}}
            ).decode()
        }
    )
    assert foretold(project) == [ELSE]  # fmt: skip


def test_check_says_nothing_of_what_only_a_model_knows(tmp_path: Path) -> None:
    """A rule over another step's answer may be met by any case, and so may what comes after it."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9", cases(20, gold=20))
    project.edit(APP, "context.length > 40", "steps.first.output == 'yes'")
    project.edit(APP, "  - id: sort", "  - {id: first, kind: function, function: 'desk.py:label', "
                 "inputs: {message: inputs.message}}\n  - id: sort")  # fmt: skip
    assert [text.split("'")[1] for text in foretold(project)] == ["long", "else"]
    project.edit(APP, "inputs.tier == 'gold'", "inputs.tier == 'gold' and steps.first.output == 'no'")
    assert foretold(project) == []


def test_case_that_a_rule_fails_on_reaches_nothing(tmp_path: Path) -> None:
    """A case whose condition cannot be computed does not count for the branches behind it."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.edit(APP, "inputs.tier == 'gold'", "inputs.tier > 3")
    assert [text.split("'")[1] for text in foretold(project)] == ["gold", "long", "else"]


def test_step_that_no_case_runs_has_no_branch(tmp_path: Path) -> None:
    """A step whose own condition holds for no case reaches none of its branches."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.edit(APP, "    kind: llm", "    kind: llm\n    when: inputs.tier == 'silver'")
    assert [text.split("'")[1] for text in foretold(project)] == ["gold", "long", "else"]


def test_texts_that_are_not_fetched_are_not_guessed(tmp_path: Path) -> None:
    """Of cases in a package the constants are known and the texts are not: only what is certain is said."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.write({"suites/desk/suite.yaml": "checks: [{id: right, check: json_valid}]\n"})
    (project.root / "suites/desk/cases/all.jsonl").unlink()
    rows = "{source: 'pypi:x==1.0#x.jsonl', sha256: %s, format: jsonl, licence: MIT, id: id, prefix: x-, "
    rows += "inputs: {message: text}, constants: {tier: %s}, rows: [a, b]}\n"
    project.write({"suites/desk/cases/far.yaml": rows % ("a" * 64, "standard")})
    assert [text.split("'")[1] for text in foretold(project)] == ["gold"]
    project.write({"suites/desk/cases/far.yaml": rows % ("a" * 64, "gold")})
    assert [text.split("'")[1] for text in foretold(project)] == ["long", "else"]


def test_run_counts_the_branches_that_were_taken(tmp_path: Path, answering: Stub) -> None:
    """The outputs name version and branch, the manifest counts cases, and the report names what was not reached."""
    project = ruled_project(tmp_path, answering.url)
    project.branch()
    assert project.run("gate") in (0, 1, 2)
    steps = {row["case"]: row["steps"]["sort"] for row in project.outputs() if row["variant"] == "candidate"}
    assert (steps["case-000"]["prompt"], steps["case-000"]["branch"]) == ("desk/sort/1.1.0", "gold")
    assert (steps["case-059"]["prompt"], steps["case-059"]["branch"]) == ("desk/sort/1.0.0", "else")
    manifest = project.file("run.json")
    assert manifest["branches"] == {"desk": {"sort": {"gold": 20, "long": 0, "else": 40}}}
    assert LONG in manifest["warnings"]
    report = (project.runs[-1] / "report.html").read_text(encoding="utf-8")
    assert "Branch of step sort of desk that no case reaches: long." in report


def test_measured_and_not_foretold_decides(tmp_path: Path, answering: Stub) -> None:
    """A branch behind a model's answer is counted from what the model said."""
    project = ruled_project(tmp_path, answering.url)
    project.edit(APP, "context.length > 40", "steps.first.output == 'refund'")
    project.edit(APP, "    model: remote", "    model: remote\n    needs: [first]")
    project.edit(APP, "  - id: sort", "  - {id: first, kind: llm, model: remote, prompt: desk/sort/1.0.0, "
                 "inputs: {message: inputs.message}}\n  - id: sort")  # fmt: skip
    project.branch()
    assert foretold(project) == []
    assert project.run("gate") in (0, 1, 2)
    assert project.file("run.json")["branches"]["desk"] == {"sort": {"gold": 20, "long": 16, "else": 24}}
    assert [text for text in project.file("run.json")["warnings"] if "branch" in text] == []


def test_broken_run_says_nothing_of_branches(tmp_path: Path) -> None:
    """Where nothing could be asked, an unreached branch is no finding."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.branch()
    assert project.run("gate") == 3
    assert project.file("run.json")["branches"] == {}
    assert [text for text in project.file("run.json")["warnings"] if "branch" in text] == []


def test_change_of_rules_is_told(tmp_path: Path, answering: Stub) -> None:
    """What changed is said with the versions of both sides."""
    project = ruled_project(tmp_path, answering.url)
    project.branch()
    project.edit(APP, "else: desk/sort/1.0.0", "else: desk/sort/1.1.0")
    project.commit()
    project.run("gate")
    (change,) = project.file("run.json")["changes"]
    before, after = change.removeprefix("desk: prompt rules of step sort: ").split(" -> ")
    assert before == "desk/sort/1.1.0, desk/sort/1.2.0, desk/sort/1.0.0"
    assert after == "desk/sort/1.1.0, desk/sort/1.2.0"
