"""Jobs that share a run: races, runners that die, folders of another commit, another harness, another baseline."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.run.harness_code import harness_digest
from tests.run.project import REWORDED, Project, Stub, case_lines, http_app, make_project, serving, sort, wait_for

DESK = "suites/desk/desk.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A branch whose change alters nothing, committed."""
    made = make_project(tmp_path)
    made.branch()
    made.write({DESK: REWORDED})
    made.commit()
    return made


def refused(project: Project, capsys: pytest.CaptureFixture[str], *parts: Path) -> str:
    """The message with which ``signoff gate --from`` refuses the parts."""
    capsys.readouterr()
    assert project.run("gate", *(f"--from={part}" for part in parts)) == 64
    return capsys.readouterr().err


def edit_manifest(part: Path, **changes: Any) -> None:
    """Change ``run.json`` of a part as another machine would have written it."""
    content = json.loads((part / "run.json").read_text(encoding="utf-8"))
    (part / "run.json").write_text(json.dumps(content | changes), encoding="utf-8")


def test_a_part_of_another_commit_is_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which commit the part measured and what to do."""
    assert project.run("measure") == 0
    commit = project.git("rev-parse", "HEAD")
    part = project.runs[-1]
    project.write({DESK: REWORDED + "# More.\n"})
    project.commit()
    told = refused(project, capsys, part)
    assert f"(commit {commit[:12]})" in told
    assert "measure it on this commit" in told


def test_a_part_of_a_commit_that_changes_nothing_measured_fits(project: Project) -> None:
    """A commit of files that no digest covers does not make an hour of measuring worthless."""
    assert project.run("measure") == 0
    part = project.runs[-1]
    project.write({"README.md": "hello"})
    project.commit()
    assert project.run("gate", "--from", str(part)) == 0


def test_a_part_of_another_harness_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of two versions of the harness are never mixed."""
    assert project.run("measure") == 0
    edit_manifest(project.runs[-1], harness="0" * 64)
    assert "another version of the harness" in refused(project, capsys, project.runs[-1])
    assert len(harness_digest()) == 64


def test_a_part_beside_another_baseline_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The default branch got other cases between two jobs: the old yardstick of the part is not that of the run."""
    assert project.run("measure") == 0
    part = project.runs[-1]
    project.git("checkout", "--quiet", "main")
    project.write({"suites/desk/cases/all.jsonl": case_lines(70)})
    project.commit()
    project.git("checkout", "--quiet", "change")
    project.git("rebase", "--quiet", "main")
    told = refused(project, capsys, part)
    assert "desk" in told
    assert "measure it on this commit" in told


def test_a_runner_that_died_leaves_a_part_that_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed between asking and writing its manifest, the folder says by itself that it is not whole."""

    def slow(body: Any) -> Any:
        if not gone.wait(20):
            raise ConnectionError
        return sort(body)

    gone = threading.Event()
    with serving(slow) as stub:
        project = make_project(tmp_path, files={"suites/desk/app.yaml": http_app(stub.url)})
        process = project.start("measure", "regression")
        wait_for(lambda: bool(stub.asked))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        gone.set()
    assert not (project.runs[-1] / "run.json").exists()
    assert "it was cut off" in refused(project, capsys, project.runs[-1])


def test_two_runs_at_once_keep_apart(tmp_path: Path) -> None:
    """Started in the same moment on the same tree, each has a folder of its own and comes to its verdict."""
    stub: Stub
    with serving(sort) as stub:
        project = make_project(tmp_path, files={"suites/desk/app.yaml": http_app(stub.url)})
        processes = [project.start("gate") for _ in range(3)]
        codes = [process.wait(timeout=90) for process in processes]
        for process in processes:
            process.communicate()
    assert codes == [0, 0, 0]
    assert len(project.runs) == 3
    for run in project.runs:
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
        assert content["complete"] is True
        rows = (run / "measurements/regression.jsonl").read_text(encoding="utf-8").splitlines()
        assert len({(row["case"], row["variant"], row["check"]) for row in map(json.loads, rows)}) == len(rows) == 60
    assert (project.root / "reports/latest").resolve() in project.runs


def test_two_verdicts_over_one_part_agree(project: Project, tmp_path: Path) -> None:
    """A part is only read: jobs that decide at the same time over one folder do not disturb each other."""
    assert project.spawn("measure")[0] == 0
    part = tmp_path / "part"
    shutil.move(project.runs[-1], part)
    before = {path: path.read_bytes() for path in part.rglob("*") if path.is_file()}
    processes = [project.start("gate", "--from", str(part)) for _ in range(3)]
    assert [process.wait(timeout=90) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    assert before == {path: path.read_bytes() for path in part.rglob("*") if path.is_file()}
