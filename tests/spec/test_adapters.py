"""An adapter version is what its manifest says, fits its base, and belongs to the app that uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from harness.errors import UsageError
from harness.spec.adapters import CONFIG, MANIFEST, WEIGHTS
from harness.spec.repository import load_repository
from harness.store import digest_bytes
from tests.run.project import Project, make_project
from tests.run.test_gate_bad_input import LLM_FILES

BASE = digest_bytes(b"base")
FOLDER = "models/adapters/sorter/1.0.0"
MODEL = f"""\
name: remote
source: path:base.gguf
sha256: {BASE}
licence: MIT
context: 2048
"""


def built(project: Project, *, weights: bytes = b"weights", base: str = BASE) -> None:
    """Write one adapter version as a build would."""
    folder = project.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_bytes(b"{}")
    manifest = {
        "name": "sorter",
        "version": "1.0.0",
        "base": "remote",
        "base_sha256": base,
        "tokenizer_template": digest_bytes(b"template"),
        "weights_sha256": digest_bytes(weights),
        "config_sha256": digest_bytes(b"{}"),
    }
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An app whose model step uses an adapter version."""
    made = make_project(tmp_path, count=4, files=LLM_FILES)
    made.write({"models/remote/model.yaml": MODEL})
    made.edit("suites/desk/app.yaml", "model: remote", "model: remote\n    adapter: sorter/1.0.0")
    return made


def test_the_adapter_is_part_of_the_app(project: Project) -> None:
    """Other weights make another adapter and another app; what it was made from does neither."""
    built(project)
    first = load_repository(project.root).apps["desk"]
    path = project.root / FOLDER / MANIFEST
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "provenance": {"mart": "another"}}))
    again = load_repository(project.root).apps["desk"]
    built(project, weights=b"other weights")
    other = load_repository(project.root).apps["desk"]
    assert first.digest == again.digest != other.digest
    assert first.adapters["sorter/1.0.0"].served_name != other.adapters["sorter/1.0.0"].served_name


def test_a_version_that_nobody_built_names_the_command(project: Project) -> None:
    """An adapter that is named and absent is an error that says how to build it."""
    with pytest.raises(UsageError, match="signoff finetune sorter"):
        load_repository(project.root)


def test_an_adapter_of_another_base_is_refused(project: Project) -> None:
    """Weights trained on other bytes than the model's are never served on it."""
    built(project, base=digest_bytes(b"another base"))
    with pytest.raises(UsageError, match="was trained on remote"):
        load_repository(project.root)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: (folder / WEIGHTS).write_bytes(b"weigh"), "the manifest says"),
        (lambda folder: (folder / CONFIG).write_bytes(b'{"r": 8}'), "the manifest says"),
        (lambda folder: (folder / WEIGHTS).unlink(), "is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "build did not finish"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"{"), "not JSON"),
        (lambda folder: (folder / MANIFEST).write_bytes(b'{"name": "x"}'), "Field required"),
    ],
    ids=["truncated weights", "edited config", "no weights", "no manifest", "broken manifest", "short manifest"],
)
def test_damage_is_named(project: Project, damage: Callable[[Path], None], complaint: str) -> None:
    """A file that is not what the manifest says is refused with its path."""
    built(project)
    damage(project.root / FOLDER)
    with pytest.raises(UsageError, match=complaint) as refused:
        load_repository(project.root)
    assert FOLDER in str(refused.value)


def test_a_copied_folder_does_not_become_another_version(project: Project) -> None:
    """A manifest that lies in another version's folder is refused."""
    built(project)
    (project.root / FOLDER).rename(project.root / FOLDER.replace("1.0.0", "2.0.0"))
    project.edit("suites/desk/app.yaml", "sorter/1.0.0", "sorter/2.0.0")
    with pytest.raises(UsageError, match=r"it is of sorter/1\.0\.0, but lies in sorter/2\.0\.0"):
        load_repository(project.root)
