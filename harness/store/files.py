"""Writing so that a kill leaves nothing half, and one process at a time does a thing."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a message that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            message = f"no space left while writing {path}; free some, or point SIGNOFF_CACHE at another disk"
            raise UsageError(message) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            message = f"{path} cannot be written ({error.strerror}); point SIGNOFF_CACHE at a folder of yours"
            raise UsageError(message) from error
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """The file has either its old content or all of ``content``; UsageError when the disk is full."""
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel gives it back when the process dies."""
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def cache_home() -> Path:
    """``$SIGNOFF_CACHE``, else ``signoff`` below the user's cache folder."""
    own = os.environ.get("SIGNOFF_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "signoff"
