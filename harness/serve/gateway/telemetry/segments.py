"""Files of the log of requests: one writer each, marked by a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

_NAME = re.compile(r"traces-\d{8}T\d{6}-[0-9a-f]{9}\.(jsonl|parquet)")
_TEMPORARY = re.compile(r"\.traces-\d{8}T\d{6}-[0-9a-f]{9}\.(jsonl|parquet)\.tmp")
_ABANDONED_S = 3600.0


class Segment:
    """One open file of JSON lines. Nobody else appends to it, converts it or removes it while it is open."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self.bytes = os.fstat(handle).st_size
        self.opened = time.monotonic()
        self.torn = False
        """Whether half a line may be at the end, so that no other may follow."""

    @classmethod
    def create(cls, folder: Path) -> Self:
        """A new file in ``folder``, named by the time and a random word; OSError when that is impossible."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = datetime.now(UTC)
        # Milliseconds first, so that files of one second sort by time as well.
        path = folder / f"traces-{now:%Y%m%dT%H%M%S}-{now.microsecond // 1000:03d}{secrets.token_hex(3)}.jsonl"
        draft = path.with_name(f".{path.name}.tmp")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            # Under its own name only when it is locked: unlocked ones are taken for those of a dead process.
            _lock(handle)
            draft.rename(path)
        except OSError:
            os.close(handle)
            draft.unlink(missing_ok=True)
            raise
        return cls(path, handle)

    @classmethod
    def orphan(cls, path: Path) -> Self | None:
        """The file at ``path`` if its writer is gone, else None."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return None
        # Another process may have dealt with it between the listing and the lock.
        if _lock(handle) and os.fstat(handle).st_nlink > 0:
            return cls(path, handle)
        os.close(handle)
        return None

    @property
    def lost(self) -> bool:
        """Whether somebody removed the file, so that what is written goes nowhere."""
        return os.fstat(self._handle).st_nlink == 0

    def append(self, lines: bytes) -> None:
        """Write whole lines. OSError when they do not fit: then none of them is in the file."""
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError:
            self.torn = True
            os.ftruncate(self._handle, self.bytes)
            self.torn = False
            raise
        self.bytes += len(lines)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Taken; or a file system without locks, where leftovers then stay as they are.
        return False
    return True


def segment_paths(folder: Path) -> list[Path]:
    """The files of the log, oldest first; for one that is in both forms, the finished Parquet."""
    found: dict[str, Path] = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            # Parquet sorts after JSON lines and takes its place.
            if _NAME.fullmatch(path.name):
                found[path.stem] = path
    return list(found.values())


def orphans(folder: Path) -> Iterator[Segment]:
    """Files of JSON lines whose writers are gone; the caller closes each."""
    for path in sorted(folder.glob("traces-*.jsonl")):
        if _NAME.fullmatch(path.name) and (segment := Segment.orphan(path)) is not None:
            yield segment


def expire(folder: Path, days: float) -> int:
    """Remove files whose last row was written more than ``days`` ago, and drafts that a kill left; how many."""
    removed = 0
    now = time.time()
    for pattern, kept_s in ((_NAME, days * 86_400), (_TEMPORARY, _ABANDONED_S)):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if pattern.fullmatch(path.name) and now - path.stat().st_mtime > kept_s:
                    path.unlink()
                    removed += 1
    return removed
