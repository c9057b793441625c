"""Versions that were released are not edited: prompts, judges' prompts, built adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.spec.git import edited_releases

FILES = {
    "suites/desk/judges/polite/1.0.0.prompty": "---\nname: polite\n---\nIs this polite?\n",
    "models/adapters/sorter/1.0.0/manifest.json": "{}",
    "models/adapters/sorter/1.0.0/adapter_model.safetensors": "weights",
    "models/adapters/sorter/1.0.0/notes.md": "what it is",
    "models/adapters/sorter/recipe.yaml": "steps: 1\n",
}
COMMIT = "0123456789abcdef"


def trees(folder: Path) -> tuple[Path, Path]:
    """The working tree and the baseline, with the same files."""
    for tree in ("now", "before"):
        for name, text in FILES.items():
            path = folder / tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder / "now", folder / "before"


def test_nothing_changed(tmp_path: Path) -> None:
    """Equal trees, other line ends, a new version, another recipe, a better card and a deleted version are no edit."""
    now, before = trees(tmp_path)
    judge = now / "suites/desk/judges/polite/1.0.0.prompty"
    judge.write_bytes(judge.read_bytes().replace(b"\n", b"\r\n"))
    judge.with_name("1.1.0.prompty").write_text("another question", encoding="utf-8")
    (now / "models/adapters/sorter/recipe.yaml").write_text("steps: 2\n", encoding="utf-8")
    (now / "models/adapters/sorter/1.0.0/README.md").write_text("what it was seen to be worth", encoding="utf-8")
    assert edited_releases(now, before, COMMIT) == []
    for path in sorted((now / "models/adapters/sorter/1.0.0").iterdir()):
        path.unlink()
    (now / "models/adapters/sorter/1.0.0").rmdir()
    assert edited_releases(now, before, COMMIT) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("suites/desk/judges/polite/1.0.0.prompty", "Is this rude?", "save the change as 1.0.1.prompty"),
        ("models/adapters/sorter/1.0.0/adapter_model.safetensors", "other", "changed in a built version in place"),
        ("models/adapters/sorter/1.0.0/notes.md", "praise", "changed in a built version in place"),
        ("models/adapters/sorter/1.0.0/more.json", "{}", "added to a built version in place"),
        ("models/adapters/sorter/1.0.0/notes.md", None, "removed from a built version in place"),
    ],
)
def test_an_edit_in_place_is_named(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    """The file, what happened to it and the command that restores it."""
    now, before = trees(tmp_path)
    if text is None:
        (now / name).unlink()
    else:
        (now / name).write_text(text, encoding="utf-8")
    (problem,) = edited_releases(now, before, COMMIT)
    assert problem.path == name
    assert said in problem.message
    assert "git checkout 0123456789ab -- " in problem.message
