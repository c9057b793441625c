"""The harness as one digest: parts that another version of it measured are not put together with these."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import harness
from harness.store import digest_bytes, digest_of

_CODE = (".py", ".j2", ".css", ".js", ".txt")


@cache
def harness_digest() -> str:
    """sha256 over the package's own files, whatever folder it is installed in."""
    root = Path(harness.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.suffix in _CODE and "__pycache__" not in path.parts)
    return digest_of([[path.relative_to(root).as_posix(), digest_bytes(path.read_bytes())] for path in files])
