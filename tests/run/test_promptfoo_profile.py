"""promptfoo.yaml: read strictly, measured when it is due, and part of the yardstick."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import orjson
import pytest

from tests.run.project import GATES, Project, make_project
from tests.run.test_yardstick import told

FILE = "suites/desk/promptfoo.yaml"
PROFILE = "cases: 10\nassertions:\n  polite: {type: not-icontains, value: stupid}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The sample app with a profile, on a branch."""
    made = make_project(tmp_path, 30, {FILE: PROFILE})
    made.branch()
    return made


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cases: 10", "cases: 5", ("looser", True, "promptfoo: cases 10 -> 5")),
        ("cases: 10", "cases: 15", ("changed", False, "promptfoo: cases 10 -> 15")),
        ("stupid", "dumb", ("changed", False, "promptfoo polite changed")),
        ("polite:", "rude:", ("looser", True, "promptfoo polite removed")),
        ("cases: 10", "cases: 10\ndescription: ten of them", None),
    ],
)
def test_a_moved_profile_is_told(project: Project, old: str, new: str, expected: tuple[str, bool, str] | None) -> None:
    """An assertion that is gone and fewer cases need an approval; words for people are no move."""
    project.edit(FILE, old, new)
    found = told(project)
    assert found[:1] == ([("promptfoo", *expected)] if expected else [])


def test_a_profile_that_is_gone_needs_an_approval(project: Project) -> None:
    """So does the whole file."""
    (project.root / FILE).unlink()
    assert told(project) == [("promptfoo", "looser", True, "promptfoo's assertions removed")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("case: 3\n", "promptfoo.yaml:1: unknown key 'case'"),
        ("assertions: {a: {value: x}}\n", "assertion 'a' has no 'type'"),
        ("assertions: {a: {type: contains, metric: b}}\n", "its name is its metric"),
        ("assertions: {a: {type: assert-set, assert: []}}\n", "sets are not"),
        ("profiles: [weekly]\n", "profiles.0"),
        ("cases: [\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named(project: Project, capsys: pytest.CaptureFixture[str], content: str, said: str) -> None:
    """A profile that is wrong is a mistake of the file, with exit 64."""
    project.write({FILE: content})
    assert project.run("check") == 64
    assert said in capsys.readouterr().err


def test_gates_over_its_metrics(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate may name what promptfoo measures, is warned of when so few cases cannot pass it, and nothing else."""
    gate = "  - {id: polite, metric: promptfoo.polite, rule: at_least, threshold: 0.9, profiles: [nightly]}\n"
    project.edit("suites/desk/gates.yaml", GATES, GATES + gate)
    assert project.run("check") == 0
    assert "gate 'polite' has 10 cases and can never pass" in capsys.readouterr().out
    project.edit("suites/desk/gates.yaml", "promptfoo.polite", "promptfoo.rude")
    assert project.run("check") == 64
    assert "no metric 'promptfoo.rude'" in capsys.readouterr().err


def test_a_missing_program_breaks_its_stage_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3 and what to install; the regression is measured all the same."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "promptfoo" else find(name, *more)
    )
    assert project.run("gate", "--profile", "nightly") == 3
    stages = {each["name"]: each for each in project.file("run.json")["stages"]}
    assert stages["promptfoo"]["status"] == "broken" and "pip install" in stages["promptfoo"]["reason"]
    assert stages["regression"]["status"] == "ok" and project.rows()


def test_a_pull_request_has_no_job_for_what_is_not_due(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The matrix of a pull request names the stage only if its profile does."""
    project.edit("suites/desk/desk.py", "refund", "Refund")
    for text, stages in ((PROFILE, ["regression"]), (f"profiles: [pr]\n{PROFILE}", ["regression", "promptfoo"])):
        project.write({FILE: text})
        capsys.readouterr()
        assert project.run("affected", "--json") == 0
        assert [job["stage"] for job in orjson.loads(capsys.readouterr().out)["jobs"]] == stages
