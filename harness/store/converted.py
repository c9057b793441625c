"""Folders that are built once from other bytes: converted models, extracted baselines."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson

from harness.store.digests import digest_file
from harness.store.files import locked, room_for, write_atomic

_MANIFEST = "signoff-manifest.json"


def convert_once(key: str, cache: Path, build: Callable[[Path], object]) -> Path:
    """The folder ``cache/built/<key>``, made by ``build(folder)`` when it is absent or damaged.

    Builders in several processes wait for the first. The manifest is written last and the folder renamed after it,
    so a killed build leaves nothing that looks whole. UsageError when the disk is full.
    """
    folder = cache / "built" / key
    if _whole(folder):
        return folder
    with locked(cache / "locks" / f"{key}.lock"):
        if _whole(folder):
            return folder
        with room_for(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}."))
            try:
                build(scratch)
                _seal(scratch)
                shutil.rmtree(folder, ignore_errors=True)
                scratch.rename(folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)


def _seal(folder: Path) -> None:
    entries = {}
    for path in _files(folder):
        stat = path.stat()
        # Tools may rewrite times on a copy; then the digest decides.
        entries[path.relative_to(folder).as_posix()] = [stat.st_size, stat.st_mtime_ns, digest_file(path)]
    write_atomic(folder / _MANIFEST, orjson.dumps(entries))


def _whole(folder: Path) -> bool:
    try:
        entries = orjson.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return all(_same(folder / name, *entry) for name, entry in entries.items())


def _same(path: Path, size: int, mtime: int, digest: str) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != size:
        return False
    if stat.st_mtime_ns == mtime:
        return True
    if digest_file(path) != digest:
        return False
    os.utime(path, ns=(stat.st_atime_ns, mtime))
    return True
