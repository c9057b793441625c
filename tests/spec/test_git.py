"""The baseline out of git."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.spec.git import extract, find_baseline, state
from tests.run.project import REWORDED, SORT, Project, make_project

DESK = "suites/desk/desk.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One commit on the default branch."""
    return make_project(tmp_path, count=3)


def test_branch_is_compared_with_its_merge_base(project: Project) -> None:
    """Commits that the default branch got meanwhile do not move the baseline."""
    base = project.git("rev-parse", "HEAD")
    project.branch()
    project.write({DESK: REWORDED})
    project.commit()
    project.git("checkout", "--quiet", "main")
    project.write({"suites/desk/other.txt": "x"})
    project.commit()
    project.git("checkout", "--quiet", "change")
    assert (find_baseline(project.root).ref, find_baseline(project.root).commit) == ("main", base)


def test_branch_without_a_commit_is_compared_with_its_start(project: Project) -> None:
    """A branch on which nothing happened yet has the same baseline as after its first commit."""
    project.write({DESK: REWORDED})
    second = project.commit()
    project.branch()
    assert find_baseline(project.root).commit == second


def test_default_branch_is_compared_with_its_first_parent(project: Project) -> None:
    """On the default branch the last commit is under review; while files are edited, the edit is."""
    first = project.git("rev-parse", "HEAD")
    assert find_baseline(project.root).commit is None
    project.write({DESK: REWORDED})
    edited = find_baseline(project.root)
    assert (edited.ref, edited.commit) == ("HEAD", first)
    project.commit()
    assert find_baseline(project.root).commit == first


def test_approving_does_not_move_the_baseline(project: Project) -> None:
    """The file of approvals is no edit of an app."""
    project.write({DESK: REWORDED})
    project.commit()
    before = find_baseline(project.root)
    project.write({"suites/approvals.jsonl": "{}\n"})
    assert find_baseline(project.root) == before


def test_detached_commit_of_the_default_branch(project: Project) -> None:
    """A checkout of the newest commit without a branch, as CI makes it, is compared with the first parent."""
    first = project.git("rev-parse", "HEAD")
    project.write({DESK: REWORDED})
    project.commit()
    project.git("checkout", "--quiet", "--detach")
    assert find_baseline(project.root).commit == first


def test_release_is_the_last_tag(project: Project) -> None:
    """'release' is the newest tag v*; without one the message says what a release is."""
    with pytest.raises(UsageError, match="no release yet"):
        find_baseline(project.root, "release")
    project.git("tag", "v1.2.0")
    first = project.git("rev-parse", "HEAD")
    project.write({DESK: REWORDED})
    project.commit()
    found = find_baseline(project.root, "release")
    assert (found.ref, found.commit) == ("v1.2.0", first)


def test_folder_without_git_has_no_baseline(tmp_path: Path) -> None:
    """Without a repository everything is new."""
    assert find_baseline(tmp_path).commit is None
    assert state(tmp_path) == {"commit": "", "dirty": False}


def test_unrelated_history_is_refused(project: Project) -> None:
    """A ref that shares no history with HEAD is named."""
    project.git("checkout", "--quiet", "--orphan", "island")
    project.commit()
    with pytest.raises(UsageError, match="'main' shares history"):
        find_baseline(project.root, "main")


def test_extract_gives_the_app_files_of_a_commit(project: Project, tmp_path: Path) -> None:
    """The tree of a commit holds its suites, whatever the working tree says, and nothing else."""
    commit = project.git("rev-parse", "HEAD")
    project.write({DESK: REWORDED, "README.md": "x"})
    project.commit()
    tree = extract(project.root, commit, tmp_path / "tree")
    assert (tree / DESK).read_text(encoding="utf-8") == SORT
    assert sorted(path.name for path in tree.iterdir()) == ["suites"]


def test_state_tells_an_edited_tree(project: Project) -> None:
    """The manifest's commit and dirty flag follow the working tree."""
    assert state(project.root) == {"commit": project.git("rev-parse", "HEAD"), "dirty": False}
    project.write({DESK: REWORDED})
    assert state(project.root)["dirty"] is True
