"""Stages that run alone, are left out, or ran elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.spec.stages import STAGES
from tests.run.project import GATES, REWORDED, Project, make_project

DESK = "suites/desk/desk.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A branch with a change that alters nothing."""
    made = make_project(tmp_path)
    made.branch()
    made.write({DESK: REWORDED})
    return made


def test_a_stage_that_is_left_out_is_never_green(project: Project) -> None:
    """Its required gates are undecided, the reason names the option, and the exit code is 2."""
    assert project.run("gate", "--skip", "load", "--skip", "safety") == 0
    assert project.run("gate", "--only", "load") == 2
    assert {gate["verdict"] for gate in project.file("verdict.json")["gates"]} == {"inconclusive"}
    assert "stage regression was left out by --only load" in project.gate_named("level")["reason"]
    (stage,) = project.file("run.json")["stages"]
    assert (stage["name"], stage["status"], stage["reason"]) == ("regression", "skipped", "left out by --only load")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--only", "speed"], f"no stage 'speed'; stages are {', '.join(STAGES)}"),
        (["--only", "load", "--skip", "load"], "leave no stage to run"),
        (["--from", "nowhere", "--only", "load"], "belong to the runs that measure"),
        (["--from", "nowhere"], "no run 'nowhere'"),
    ],
)
def test_unusable_choices(project: Project, capsys: pytest.CaptureFixture[str], args: list[str], said: str) -> None:
    """A mistake in the choice of stages is said before anything is measured."""
    assert project.run("gate", *args) == 64
    assert said in capsys.readouterr().err
    assert not any((run / "measurements").exists() for run in project.runs)


def test_parts_give_the_verdict_of_a_whole_run(project: Project, tmp_path: Path) -> None:
    """Stages measured by another job, moved and put together decide like a run in one piece, without a call."""
    assert project.run("gate") == 0
    whole = project.file("verdict.json")
    assert project.run("measure", "regression") == 0
    part = project.runs[-1]
    assert not (part / "verdict.json").exists()
    moved = tmp_path / "moved"
    shutil.move(part, moved)
    assert project.run("gate", "--from", str(moved)) == 0
    put_together = project.file("verdict.json")
    assert [gate["estimate"] for gate in put_together["gates"]] == [gate["estimate"] for gate in whole["gates"]]
    assert project.outputs()
    assert project.file("run.json")["complete"] is True


def test_what_no_part_measured_is_undecided(project: Project) -> None:
    """A job that left nothing behind is not overlooked."""
    project.write({"suites/desk/probes.yaml": "probes: [{id: rogue, family: canary}]\n"})
    project.edit("suites/desk/gates.yaml", GATES, GATES + "  - {id: rogue, metric: safety.rogue, rule: at_most, "
                 "threshold: 0.1, better: lower}\n")  # fmt: skip
    assert project.run("measure", "regression") == 0
    assert project.run("gate", "--from", str(project.runs[-1])) == 2
    assert "no part measured it" in project.gate_named("rogue")["reason"]


def _altered(project: Project, part: Path) -> str:
    with (part / "measurements/regression.jsonl").open("ab") as rows:
        rows.write(b"\n")
    return "is not what was written"


def _other_candidate(project: Project, part: Path) -> str:
    project.write({DESK: REWORDED + "# More.\n"})
    return "under review is"


def _other_cases(project: Project, part: Path) -> str:
    project.edit("suites/desk/gates.yaml", "threshold: 0.8", "threshold: 0.7")
    return "with other cases, checks or gates"


def _cut_off(project: Project, part: Path) -> str:
    (part / "run.json").unlink()
    return "it was cut off"


@pytest.mark.parametrize("spoil", [_altered, _other_candidate, _other_cases, _cut_off])
def test_a_part_that_does_not_fit_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], spoil: object
) -> None:
    """Altered bytes, another candidate, another yardstick and a folder that is not whole are named, with exit 64."""
    assert project.run("measure") == 0
    part = project.runs[-1]
    said = spoil(project, part)  # type: ignore[operator]
    assert project.run("gate", "--from", str(part)) == 64
    assert said in capsys.readouterr().err


def test_the_same_part_twice_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that came in twice would look like more evidence."""
    assert project.run("measure") == 0
    part = str(project.runs[-1])
    assert project.run("gate", "--from", part, "--from", part) == 64
    assert "as another part did" in capsys.readouterr().err


def test_parts_of_another_profile_are_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Profiles choose gates, and may choose what is measured."""
    assert project.run("measure", "--profile", "nightly") == 0
    assert project.run("gate", "--from", str(project.runs[-1])) == 64
    assert "--profile nightly" in capsys.readouterr().err
