"""Files kept under their own sha256, each hashed once and then known by its size and time."""

from __future__ import annotations

import contextlib
from pathlib import Path

from harness.errors import UsageError
from harness.store.digests import digest_file
from harness.store.files import sync, write_atomic


def intact(blob: Path, sha256: str) -> bool:
    """Whether the blob is whole: its digest was seen at this size and time, or is computed again now."""
    try:
        if _stamp(blob).read_bytes() == _mark(blob, sha256):
            return True
    except OSError:
        pass
    if not blob.is_file() or digest_file(blob) != sha256:
        return False
    # A cache that may only be read is as good, it is hashed more often.
    with contextlib.suppress(UsageError):
        write_atomic(_stamp(blob), _mark(blob, sha256))
    return True


def place(taken: Path, blob: Path, sha256: str) -> None:
    """Move the verified file ``taken`` to ``blob``, on the same disk."""
    blob.parent.mkdir(parents=True, exist_ok=True)
    sync(taken)
    taken.replace(blob)
    sync(blob.parent)
    write_atomic(_stamp(blob), _mark(blob, sha256))


def _stamp(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.verified")


def _mark(blob: Path, sha256: str) -> bytes:
    stat = blob.stat()
    return f"{sha256} {stat.st_size} {stat.st_mtime_ns}".encode()
