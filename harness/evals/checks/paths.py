"""Files that a check may name: those of its suite's folder."""

from __future__ import annotations

from pathlib import Path


def inside(folder: Path, name: str, setting: str) -> Path:
    """The file ``name`` below ``folder``; ValueError when it is missing or lies elsewhere, also by a link."""
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        message = f"setting {setting!r} = {name!r}: only files inside the suite's folder are allowed"
        raise ValueError(message)
    if not path.is_file():
        message = f"setting {setting!r} = {name!r}: there is no such file in the suite's folder"
        raise ValueError(message)
    return path
