"""Every kind of damage to a built version is named, and what merely moved is a note."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.spec.adapters import CONFIG, MANIFEST, WEIGHTS
from harness.store import digest_file
from harness.tune import finetune, verify_adapters
from tests.run.project import Project
from tests.tune.small import SHA256, request, tiny_cache, trained_at_once, tree

FOLDER = "models/adapters/sorter/1.0.0"


@pytest.fixture
def project(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A tree with a built version, and the cache that the command uses."""
    monkeypatch.setattr("harness.tune.build.run_training", trained_at_once)
    shutil.copytree(cache / "built", tmp_path / "cache/built")
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    made = tree(tmp_path / "tree")
    finetune(request(made, tmp_path / "cache"))
    return made


def verify(project: Project, *args: str) -> int:
    """The exit code of the command."""
    return main(["adapters", "verify", "--root", str(project.root), *args])


def test_an_untouched_version(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A version as it was built passes."""
    assert verify(project) == 0
    assert "sorter/1.0.0: as its manifest says" in capsys.readouterr().out


def flip(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def cut_and_sealed(folder: Path) -> None:
    cut(folder)
    reseal(folder)


def edited(folder: Path) -> None:
    text = (folder / CONFIG).read_text(encoding="utf-8")
    (folder / CONFIG).write_text(text.replace('"r": 4', '"r": 5'), encoding="utf-8")


def lost(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def unreadable(folder: Path) -> None:
    (folder / MANIFEST).write_text("{", encoding="utf-8")


def pointer(folder: Path) -> None:
    oid, size = digest_file(folder / WEIGHTS), (folder / WEIGHTS).stat().st_size
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
    (folder / WEIGHTS).write_text(text, encoding="utf-8")


def reseal(folder: Path, **changed: Any) -> None:
    """The manifest states the weights as they are: only a look into them finds the fault."""
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(
        orjson.dumps(manifest | {"weights_sha256": digest_file(folder / WEIGHTS)} | changed)
    )


def rewrite(folder: Path, change: Callable[[str, Any], Any]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = {name: change(name, tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)
    reseal(folder)


def unreal(folder: Path) -> None:
    rewrite(folder, lambda name, tensor: tensor * float("nan") if "layers.0.mlp.up_proj.lora_A" in name else tensor)


def idle(folder: Path) -> None:
    rewrite(folder, lambda name, tensor: tensor * 0 if "layers.1.mlp.up_proj.lora_B" in name else tensor)


def template(folder: Path) -> None:
    reseal(folder, tokenizer_template="12" * 32)


def other_base(folder: Path) -> None:
    file = folder.parents[2] / "tiny/model.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace(SHA256, "cd" * 32), encoding="utf-8")


def no_base(folder: Path) -> None:
    reseal(folder, base="gone")


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (flip, f"{FOLDER}/{WEIGHTS}: has sha256"),
    (cut, f"{FOLDER}/{WEIGHTS}: has sha256"),
    (cut_and_sealed, f"{WEIGHTS} cannot be read"),
    (edited, f"{FOLDER}/{CONFIG}: has sha256"),
    (lost, f"{FOLDER}/{MANIFEST}: is missing: a version whose build did not finish"),
    (unreadable, f"{FOLDER}/{MANIFEST}:1: is not JSON"),
    (pointer, "was not fetched; run: git lfs pull"),
    (unreal, "layers.0.mlp.up_proj.lora_A.weight holds numbers that are not finite"),
    (idle, "layers.1.mlp.up_proj.lora_B.weight is all zeros, so it changes nothing"),
    (template, "was trained with tokenizer and chat template 121212121212…"),
    (other_base, "adapter sorter/1.0.0 was trained on tiny (sha256 abababababab…); model 'tiny' is cdcdcdcdcdcd…"),
    (no_base, "was trained on model 'gone', which the tree does not have"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_damage(
    project: Project, damage: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of damage is exit code 1 and named."""
    damage(project.root / FOLDER)
    assert verify(project) == 1
    told = capsys.readouterr().out
    assert "sorter/1.0.0: WRONG" in told and said in told, told
    assert verify(project, "--json") == 1
    found = orjson.loads(capsys.readouterr().out)
    assert found["verdict"] == "fail" and any(said in line for line in found["adapters"][0]["wrong"])


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("prompts/desk/sort/1.0.0.prompty", "{{ message }}", "{{ message }}!", "prompt"),
        ("models/adapters/sorter/recipe.yaml", '"seed":3', '"seed":4', "recipe"),
    ],
)
def test_what_moved_is_a_note(
    project: Project, file: str, old: str, new: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another prompt or recipe than it was made from is told and no failure."""
    project.edit(file, old, new)
    assert verify(project) == 0
    assert f"note: its {what} is another one now" in capsys.readouterr().out


def test_other_chat_template(project: Project, tmp_path: Path) -> None:
    """The template of the base's own folder is compared, not what some file says of it."""
    from transformers import AutoTokenizer

    folder = tiny_cache(tmp_path / "cache")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = str(tokenizer.chat_template).replace("assistant", "helper")
    other = tmp_path / "other"
    tokenizer.save_pretrained(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.tune.verify.model_folder", lambda *_: other)
        (found,) = verify_adapters(project.root, tmp_path / "cache")
    assert "was trained with tokenizer and chat template" in found.wrong[0]


def test_folders_of_killed_builds_are_no_versions(project: Project, tmp_path: Path) -> None:
    """What a kill leaves behind is not looked at; a tree without a version has none."""
    folder = project.root / FOLDER
    folder.rename(folder.with_name(".1.0.0.building"))
    assert verify_adapters(project.root, tmp_path / "cache") == []


def test_large_weights_are_noted(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are too large for git are a note."""
    monkeypatch.setattr("harness.tune.verify.IN_GIT", 10)
    (found,) = verify_adapters(project.root, tmp_path / "cache")
    assert found.wrong == () and "belong into Git LFS or a store" in found.notes[0]
