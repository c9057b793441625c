"""A version built a second time: the same bytes, or answers that nothing tells apart, or a difference that is told."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.errors import UsageError
from harness.store import digest_file
from harness.tune import TuneRequest, finetune, rebuild
from tests.run.project import Project
from tests.tune.small import request, trained_at_once, tree

FOLDER = "models/adapters/sorter/1.0.0"


@pytest.fixture
def asked(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> TuneRequest:
    """A version whose first build was trained from seed 0, in no time."""
    monkeypatch.setattr("harness.tune.build.run_training", trained_at_once)
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    shutil.copytree(cache / "built", tmp_path / "cache/built")
    made = request(tree(tmp_path / "tree"), tmp_path / "cache")
    finetune(made)
    return made


def trained_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second training ends with other weights."""
    monkeypatch.setattr(
        "harness.tune.build.run_training", lambda made, processes, show: trained_at_once(made, processes, show, seed=1)
    )


@pytest.mark.slow
def test_really_built_again(tmp_path: Path, cache: Path) -> None:
    """Two real builds of one recipe on one thread have the same bytes, and the first stays as it is."""
    project = tree(tmp_path / "tree")
    made = request(project, cache)
    finetune(made)
    before = {path: path.read_bytes() for path in made.out.iterdir()}
    found = rebuild(made)
    assert found.same_bytes and found.equal and found.differences == {} and found.moved == ()
    assert {path: path.read_bytes() for path in made.out.iterdir()} == before
    assert found.second.folder == cache / "again/sorter/1.0.0"


def test_the_same_bytes(asked: TuneRequest) -> None:
    """The same weights and configuration need no further look."""
    found = rebuild(asked)
    assert found.same_bytes and found.equal and found.differences == {}


def test_other_bytes_are_asked(asked: TuneRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bytes differ both versions answer the rows of the test split, and the paired differences are told."""
    trained_otherwise(monkeypatch)
    first = digest_file(asked.out / "adapter_model.safetensors")
    found = rebuild(asked)
    assert not found.same_bytes and set(found.differences) == {"topic", "valid", "exact"}
    for one, two, difference, low, high in found.differences.values():
        assert 0 <= one <= 1 and 0 <= two <= 1 and difference == pytest.approx(two - one) and low <= difference <= high
    assert digest_file(asked.out / "adapter_model.safetensors") == first


def answered(monkeypatch: pytest.MonkeyPatch, first: list[int], second: list[int]) -> None:
    """The answers of both versions, right or not."""

    def run(job: Any, command: list[str], environment: Mapping[str, str], show: bool) -> None:
        assert [part.partition("=")[0] for part in command[-2:]] == ["first", "second"]
        Path(command[4]).write_bytes(orjson.dumps({"first": {"exact": first}, "second": {"exact": second}}))

    # The package's own name for it is the function of that module.
    monkeypatch.setattr(sys.modules["harness.tune.rebuild"], "run_child", run)


@pytest.mark.parametrize(
    ("second", "equal"), [([1] * 40, False), ([1] * 20 + [0] * 20, True), ([0, 1] + [1] * 18 + [0] * 20, True)]
)
def test_when_two_builds_are_one(
    asked: TuneRequest, monkeypatch: pytest.MonkeyPatch, second: list[int], equal: bool
) -> None:
    """Two builds are equal unless the interval of a difference leaves out zero; then the command ends with 1."""
    trained_otherwise(monkeypatch)
    answered(monkeypatch, [1] * 20 + [0] * 20, second)
    assert rebuild(asked).equal is equal
    assert Project(asked.root).run("finetune", "--again", "sorter") == (0 if equal else 1)


def test_what_moved_is_told(asked: TuneRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second build from other inputs says which."""
    answered(monkeypatch, [1, 0], [1, 0])
    project = Project(asked.root)
    project.edit("models/adapters/sorter/recipe.yaml", '"alpha":16.0', '"alpha":8.0')
    found = rebuild(request(project, asked.cache))
    assert found.moved == ("recipe",)


def test_there_must_be_a_first(asked: TuneRequest) -> None:
    """Without a first build there is nothing to compare with."""
    shutil.rmtree(asked.out)
    with pytest.raises(UsageError, match="build it first with: signoff finetune sorter"):
        rebuild(asked)
