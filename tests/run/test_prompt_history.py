"""The history of a prompt: commits, users, and what gates said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run.prompt_history import history
from tests.run.project import Project, Stub
from tests.run.ruled import PROMPTS, answered, cases, prompt, ruled_project
from tests.run.test_compare import PLAIN

NEWER = "prompts/desk/sort/1.10.0.prompty"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The model of the ruled app."""
    with answered(monkeypatch) as stub:
        yield stub


def test_versions_are_told_newest_first_with_their_commits(tmp_path: Path) -> None:
    """Versions are ordered as numbers; each has the commit that brought it, a file that none holds has none."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.write({NEWER: prompt("1.10.0", "Sort: {{ message }}", "message", changes="shorter")})
    second = project.commit("a shorter prompt")
    project.write({"prompts/desk/sort/2.0.0.prompty": prompt("2.0.0", "{{ message }}", "message")})
    entries = history(project.root, "desk/sort").entries
    assert [entry.version.number for entry in entries] == ["2.0.0", "1.10.0", "1.2.0", "1.1.0", "1.0.0"]
    assert entries[0].introduced is None
    assert entries[1].introduced and (entries[1].introduced.commit, entries[1].introduced.author) == (second, "T")
    first = entries[4].introduced
    assert first is not None and first.commit == project.git("rev-list", "--max-parents=0", "HEAD")
    assert (entries[1].as_dict()["changes"], entries[1].as_dict()["digest"]) == (
        "shorter", entries[1].version.prompt.digest,
    )  # fmt: skip


def test_later_edits_do_not_move_the_commit(tmp_path: Path) -> None:
    """A version that was deleted and restored keeps the commit in which it first appeared."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.write({NEWER: prompt("1.10.0", "Sort: {{ message }}", "message")})
    first = project.commit("in")
    (project.root / NEWER).unlink()
    project.commit("out")
    project.write({NEWER: prompt("1.10.0", "Sort: {{ message }}", "message")})
    project.commit("in again")
    found = next(e for e in history(project.root, "desk/sort").entries if e.version.number == "1.10.0")
    assert found.introduced and found.introduced.commit == first


def test_uses_name_step_and_branch(tmp_path: Path) -> None:
    """Each version says which app's step uses it, and by which rule."""
    entries = history(ruled_project(tmp_path, "http://127.0.0.1:9").root, "desk/sort").entries
    assert [entry.uses for entry in entries] == [
        (("desk", "sort", "long"),), (("desk", "sort", "gold"),), (("desk", "sort", "else"),),
    ]  # fmt: skip


def gated(project: Project) -> str:
    """Run the gate and return the run's id."""
    assert project.run("gate") in (0, 1, 2)
    return project.runs[-1].name


def test_gate_results_belong_to_the_text_that_was_measured(tmp_path: Path, answering: Stub) -> None:
    """A version shows the newest run whose candidate had its text; another text of that name was not measured."""
    project = ruled_project(tmp_path, answering.url, cases(60), **{"suites/desk/app.yaml": PLAIN})
    project.branch()
    gated(project)
    again = gated(project)
    project.edit("suites/desk/app.yaml", "sort/1.0.0", "sort/1.1.0")
    newer = gated(project)
    by_version = {entry.version.number: entry for entry in history(project.root, "desk/sort").entries}
    (old,), (new,) = by_version["1.0.0"].measured, by_version["1.1.0"].measured
    assert (old.run, old.runs, new.run, new.runs) == (again, 2, newer, 1)
    level = next(gate for gate in old.gates if gate["id"] == "level")
    assert (level["estimate"], level["n"], level["verdict"]) == (0.9, 60, "pass")
    assert level["low"] < 0.9 < level["high"]
    assert by_version["1.2.0"].measured == ()
    project.edit("prompts/desk/sort/1.0.0.prompty", "Sort this", "Sort that")
    assert history(project.root, "desk/sort").entries[-1].measured == ()


def test_folders_that_hold_no_verdict_are_passed_over(tmp_path: Path, answering: Stub) -> None:
    """A run that was cut off, one that is damaged and one of ``signoff eval`` do not hide the others."""
    project = ruled_project(tmp_path, answering.url, cases(60), **{"suites/desk/app.yaml": PLAIN})
    project.branch()
    whole = gated(project)
    assert project.run("eval", "--app", "desk") == 0
    cut, damaged = project.root / "reports/cut", project.root / "reports/damaged"
    cut.mkdir()
    damaged.mkdir()
    (damaged / "run.json").write_text('{"complete": tr', encoding="utf-8")
    (measured,) = history(project.root, "desk/sort").entries[-1].measured
    assert (measured.run, measured.runs) == (whole, 1)


def test_shallow_clone_is_said(tmp_path: Path) -> None:
    """Where the older commits are absent, the commit that seems to have brought a file may not have."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    project.write({NEWER: prompt("1.10.0", "Sort: {{ message }}", "message")})
    project.commit()
    project.git("clone", "--quiet", "--depth", "1", f"file://{project.root}", str(tmp_path / "clone"))
    assert history(tmp_path / "clone", "desk/sort").shallow
    assert not history(project.root, "desk/sort").shallow


def test_no_git_is_no_error(tmp_path: Path) -> None:
    """A folder outside git has versions without commits."""
    import shutil

    project = ruled_project(tmp_path, "http://127.0.0.1:9")
    shutil.rmtree(project.root / ".git")
    assert [entry.introduced for entry in history(project.root, "desk/sort").entries] == [None] * len(PROMPTS)
