"""Folders that are built once from other bytes: converted models, extracted baselines."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson

from harness.store.digests import digest_file
from harness.store.files import locked, room_for, sync, write_atomic

_MANIFEST = "signoff-manifest.json"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def convert_once(key: str, cache: Path, build: Callable[[Path], object]) -> Path:
    """The folder ``cache/built/<key>``, made by ``build(folder)`` when it is absent or damaged.

    Builders in several processes wait for the first. The manifest is written last and the folder renamed after it,
    so a killed build leaves nothing that looks whole. Later calls compare sizes and times with the manifest, and
    digests where a time differs; files that others add are not looked at. Raises UsageError when the disk is full,
    ValueError when ``key`` is not a plain file name, and whatever ``build`` raises.
    """
    if not _KEY.fullmatch(key):
        message = f"the key {key!r} must be a plain file name"
        raise ValueError(message)
    folder = cache / "built" / key
    if _whole(folder):
        return folder
    with locked(cache / "locks" / f"{key}.lock"):
        if not _whole(folder):
            with room_for(folder):
                _build(folder, build)
    return folder


def _build(folder: Path, build: Callable[[Path], object]) -> None:
    # Fixed names under the lock: what a killed build left is found and cleared.
    scratch, old = folder.with_name(f".{folder.name}.building"), folder.with_name(f".{folder.name}.old")
    for left in (scratch, old):
        shutil.rmtree(left, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        build(scratch)
        _seal(scratch)
        if folder.exists():
            folder.rename(old)
        scratch.rename(folder)
        sync(folder.parent)
    finally:
        for left in (scratch, old):
            shutil.rmtree(left, ignore_errors=True)


def _seal(folder: Path) -> None:
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync(path)
            stat = path.stat()
            entries[path.relative_to(folder).as_posix()] = [stat.st_size, stat.st_mtime_ns, digest_file(path)]
    write_atomic(folder / _MANIFEST, orjson.dumps(entries))


def _whole(folder: Path) -> bool:
    try:
        entries = orjson.loads((folder / _MANIFEST).read_bytes())
        return all(_same(folder / name, *entry) for name, entry in entries.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _same(path: Path, size: int, mtime: int, digest: str) -> bool:
    stat = path.stat()
    if stat.st_size != size:
        return False
    if stat.st_mtime_ns == mtime:
        return True
    # Tools may rewrite times on a copy; then the digest decides.
    if digest_file(path) != digest:
        return False
    with contextlib.suppress(OSError):
        os.utime(path, ns=(stat.st_atime_ns, mtime))
    return True
