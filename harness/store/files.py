"""Writing so that a kill leaves nothing half, and one process at a time does a thing."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import SignoffError, UsageError

MOVE_CACHE = "point SIGNOFF_CACHE at another folder"
TEMPORARY = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


def disk_full(error: BaseException) -> bool:
    """Whether ``error`` says that the disk is full; pip and libraries written in Rust say it in words only."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in ("No space left on device", "os error 28"))


@contextmanager
def room_for(path: Path, mend: str = MOVE_CACHE) -> Iterator[None]:
    """Turn a full or read-only disk into a UsageError that names ``path`` and says how to ``mend`` it."""
    try:
        yield
    except SignoffError:
        raise
    except Exception as error:
        if disk_full(error):
            message = f"no space left while writing {path} ({error}); free some, or {mend}"
            raise UsageError(message) from error
        if isinstance(error, OSError) and error.errno in _DENIED and _concerns(error, path):
            message = f"{error.filename or path} cannot be written ({error.strerror}); make it writable, or {mend}"
            raise UsageError(message) from error
        raise


def _concerns(error: OSError, path: Path) -> bool:
    # A build function may be denied some file of its own: moving the cache would not help there.
    name = error.filename
    return not isinstance(name, str) or path.is_relative_to(name) or Path(name).is_relative_to(path.parent)


def write_atomic(path: Path, content: bytes, mend: str = MOVE_CACHE, *, mode: int = 0o666) -> None:
    """Leave the old content or all of the new, also after a kill; UsageError when the disk is full.

    ``mode`` are the permissions of the new file, less what the process's umask takes away.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    with room_for(path, mend):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.touch(mode, exist_ok=False)
            with fresh.open("wb") as stream:
                stream.write(content)
            sync(fresh)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync(path.parent)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for it; the kernel gives it back when the process dies."""
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def cache_home() -> Path:
    """``$SIGNOFF_CACHE``, else ``signoff`` below the user's cache folder; always absolute."""
    if own := os.environ.get("SIGNOFF_CACHE"):
        return Path(own).expanduser().absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (base if base.is_absolute() else Path.home() / ".cache") / "signoff"
