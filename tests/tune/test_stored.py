"""Weights in a store: put there by the build, brought back by their digest, and nothing else is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from harness.cli import main
from harness.errors import SignoffError
from harness.spec.adapters import MANIFEST, WEIGHTS, load_adapter
from harness.store import digest_file
from harness.tune import fetch_adapters, finetune, verify_adapters
from tests.run.project import Project
from tests.tune.small import request, trained_at_once, tree

FOLDER = "models/adapters/sorter/1.0.0"


@pytest.fixture
def project(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A clone of a tree whose adapter was built into a store."""
    monkeypatch.setattr("harness.tune.build.run_training", trained_at_once)
    shutil.copytree(cache / "built", tmp_path / "cache/built")
    made = tree(tmp_path / "tree", store=f"file://{tmp_path}/store/")
    finetune(request(made, tmp_path / "cache"))
    assert load_adapter(made.root / FOLDER, FOLDER)[1] == []
    made.commit("the adapter")
    made.git("clone", "--quiet", str(made.root), str(tmp_path / "clone"))
    return Project(tmp_path / "clone")


def stored(project: Project) -> Path:
    """The only file of the store."""
    (file,) = (project.root.parent / "store").iterdir()
    return file


def test_weights_lie_in_the_store(project: Project) -> None:
    """The store holds the weights by their sha256, git everything but them."""
    manifest = orjson.loads((project.root / FOLDER / MANIFEST).read_bytes())
    assert stored(project).name == f"{manifest['weights_sha256']}.safetensors"
    assert digest_file(stored(project)) == manifest["weights_sha256"]
    assert manifest["weights_url"] == f"file://{stored(project)}"
    assert not (project.root / FOLDER / WEIGHTS).exists()


def test_a_clone_is_told_and_fetches(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the weights the command is named; it brings them, says so, and has nothing to do the next time."""
    _, (problem,) = load_adapter(project.root / FOLDER, FOLDER)
    assert "is missing; it lies at file://" in str(problem) and "signoff adapters fetch" in str(problem)
    for told in ("fetched from", "here already"):
        assert main(["adapters", "fetch", "--root", str(project.root)]) == 0
        assert f"sorter/1.0.0: {told}" in capsys.readouterr().out
    (found,) = verify_adapters(project.root, project.root.parent / "cache")
    assert found.wrong == ()
    assert project.git("status", "--porcelain") == ""


def test_damaged_weights_are_fetched_again(project: Project) -> None:
    """Weights in the tree that are not the manifest's are replaced."""
    (project.root / FOLDER / WEIGHTS).write_bytes(b"other")
    (found,) = fetch_adapters(project.root)
    assert found.fresh and found.bytes == stored(project).stat().st_size


def test_other_bytes_are_not_kept(project: Project) -> None:
    """What the store gives is kept only when it is what the manifest says."""
    stored(project).write_bytes(b"anything")
    with pytest.raises(SignoffError, match=r"the manifest says .*nothing was kept"):
        fetch_adapters(project.root)
    assert {path.name for path in (project.root / FOLDER).glob("*.safetensors*")} == set()
    assert not list((project.root / FOLDER).glob(".*part"))


def test_a_store_without_the_file(project: Project) -> None:
    """Weights that are gone are named by their address."""
    stored(project).unlink()
    with pytest.raises(SignoffError, match=r"file://.*\.safetensors is not there"):
        fetch_adapters(project.root)


def test_a_store_that_nothing_here_can_reach(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of an unknown kind is an error without a traceback."""
    path = project.root / FOLDER / MANIFEST
    path.write_bytes(path.read_bytes().replace(b"file://", b"nowhere://"))
    assert main(["adapters", "fetch", "--root", str(project.root)]) in (3, 64)
    assert "nowhere" in capsys.readouterr().err


def test_a_broken_transfer_is_mended(project: Project, tmp_path: Path) -> None:
    """A part of the weights that a broken transfer left in the store is replaced by the next build."""
    whole = stored(project).read_bytes()
    stored(project).write_bytes(whole[:100])
    first = Project(tmp_path / "tree")
    shutil.rmtree(first.root / FOLDER)
    finetune(request(first, tmp_path / "cache"))
    assert stored(project).read_bytes() == whole


def test_a_tree_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to fetch, and that is said."""
    assert main(["adapters", "fetch", "--root", str(tree(tmp_path / "plain").root)]) == 0
    assert "no adapter version has its weights in a store" in capsys.readouterr().out
