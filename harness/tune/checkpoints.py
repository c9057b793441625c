"""Checkpoints that a kill cannot leave half: one counts only when its seal, written last, fits its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson

from harness.store.files import write_atomic

_SEAL, _FOLDERS = "whole.json", "checkpoint-*"


def seal(folder: Path) -> None:
    """Say that ``folder`` is whole: the sizes of its files."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file() and path.name != _SEAL}
    write_atomic(folder / _SEAL, orjson.dumps(sizes))


def newest_whole(work: Path) -> Path | None:
    """The newest whole checkpoint of a training that was stopped, None when it starts at the beginning."""
    found = sorted(work.glob(_FOLDERS), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((folder for folder in found if _whole(folder)), None)


def remove_torn(work: Path) -> None:
    """Remove what a kill left half.

    Trainer keeps the newest few folders, by the times that these carry: a torn one would take the place of a whole one,
    or be taken for the oldest and removed just after it was written anew.
    """
    for folder in work.glob(_FOLDERS):
        if not _whole(folder):
            shutil.rmtree(folder)


def _whole(folder: Path) -> bool:
    try:
        sizes = orjson.loads((folder / _SEAL).read_bytes())
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
