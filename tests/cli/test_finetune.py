"""``signoff finetune``: builds what is due, says what it did, and never replaces a version that is committed."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from tests.run.project import Project
from tests.tune.small import recipe, trained_at_once, tree
from tests.tune.test_verify import FOLDER


@pytest.fixture(scope="module")
def built_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, written once."""
    from tests.tune.small import tiny_cache

    folder = tmp_path_factory.mktemp("models")
    tiny_cache(folder)
    return folder / "built"


@pytest.fixture
def project(tmp_path: Path, built_models: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tree with a recipe, and a training that takes no time."""
    monkeypatch.setattr("harness.tune.build.run_training", trained_at_once)
    shutil.copytree(built_models, tmp_path / "cache/built")
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    return tree(tmp_path / "tree")


def test_build_and_leave_alone(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The first call builds and says what to commit; the second changes nothing."""
    assert project.run("finetune") == 0
    told = capsys.readouterr().out
    assert told.startswith("sorter/1.0.0: built in 12 s, ") and f"validation loss 0.500; commit {FOLDER}/" in told
    assert project.run("finetune", "sorter") == 0
    assert capsys.readouterr().out == "sorter/1.0.0: unchanged\n"


def test_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """One object tells for each adapter where it lies and whether it was built now."""
    for fresh in (True, False):
        assert project.run("finetune", "--json") == 0
        (found,) = orjson.loads(capsys.readouterr().out)["adapters"]
        assert (found["key"], found["folder"], found["fresh"]) == ("sorter/1.0.0", FOLDER, fresh)
        assert found["bytes"] == (project.root / FOLDER / "adapter_model.safetensors").stat().st_size


def test_a_committed_version_stays(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A committed version is not built from anything else: the advice is to raise the version, which then builds."""
    assert project.run("finetune") == 0
    before = (project.root / FOLDER / "manifest.json").read_bytes()
    project.commit("the adapter")
    project.edit("models/adapters/sorter/recipe.yaml", '"seed":3', '"seed":4')
    capsys.readouterr()
    assert project.run("finetune") == 64
    told = capsys.readouterr().err
    assert "sorter/1.0.0 is committed and was built from another recipe" in told
    assert "raise version in models/adapters/sorter/recipe.yaml" in told
    assert (project.root / FOLDER / "manifest.json").read_bytes() == before
    changed = recipe(version="1.0.1", training={"seed": 4})
    project.write({"models/adapters/sorter/recipe.yaml": changed.model_dump_json()})
    assert project.run("finetune") == 0
    assert (project.root / FOLDER / "manifest.json").read_bytes() == before
    assert (project.root / FOLDER).with_name("1.0.1").is_dir()


def test_the_card_of_a_committed_version_can_be_corrected(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What an adapter is worth is known when it stands: the recipe's words reach its card, and nothing else moves."""
    assert project.run("finetune") == 0
    project.commit("the adapter")
    before = {path.name: path.read_bytes() for path in (project.root / FOLDER).iterdir()}
    changed = recipe(limits=("It cannot read rhymes.",))
    project.write({"models/adapters/sorter/recipe.yaml": changed.model_dump_json()})
    capsys.readouterr()
    assert project.run("finetune") == 0
    told = f"sorter/1.0.0: unchanged; its card has the recipe's words now, commit {FOLDER}/README.md\n"
    assert capsys.readouterr().out == told
    after = {path.name: path.read_bytes() for path in (project.root / FOLDER).iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"README.md"}
    assert b"It cannot read rhymes." in after["README.md"]
    assert project.run("finetune") == 0
    assert "sorter/1.0.0: unchanged\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nobody",), "no recipe models/adapters/nobody/recipe.yaml; there are recipes for: sorter"),
        (("--again",), "sorter/1.0.0 is not built; build it first with: signoff finetune sorter"),
    ],
)
def test_mistakes(project: Project, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is exit code 64 and named."""
    assert project.run("finetune", *args) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["0", "-1", "two", ""])
def test_processes_that_cannot_be(project: Project, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of processes below one is a mistake of the command line."""
    with pytest.raises(SystemExit, match="64"):
        project.run("finetune", f"--processes={asked}")
    assert f"argument --processes: {asked!r} is not a whole number of at least 1" in capsys.readouterr().err


def test_again(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A second build says whether it has the same bytes, and touches nothing in the tree."""
    project.run("finetune")
    before = {path: path.stat().st_mtime_ns for path in (project.root / FOLDER).iterdir()}
    capsys.readouterr()
    assert project.run("finetune", "--again") == 0
    assert capsys.readouterr().out == "sorter/1.0.0: built again in 12 s: the same bytes\n"
    assert {path: path.stat().st_mtime_ns for path in (project.root / FOLDER).iterdir()} == before
    assert project.run("finetune", "--again", "--json") == 0
    assert orjson.loads(capsys.readouterr().out)["adapters"][0]["same_bytes"] is True


def test_a_training_that_fails(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the training process refuses is the command's message and exit code."""
    monkeypatch.undo()
    cache = project.root.parent / "cache"
    monkeypatch.setenv("SIGNOFF_CACHE", str(cache))
    project.write({"models/adapters/sorter/recipe.yaml": recipe(budget={"tokens": 10}).model_dump_json()})
    assert project.run("finetune", "--json") == 64
    found = orjson.loads(capsys.readouterr().out)
    assert found["error"].startswith("sorter/1.0.0: training would read") and found["exit_code"] == 64
    assert not (project.root / FOLDER).exists()
