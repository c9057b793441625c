"""Content digests: sha256 over canonical bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def canonical(value: Any) -> bytes:
    """``value`` as JSON with sorted keys: equal values give equal bytes, whatever order their keys came in.

    Raises TypeError for what JSON cannot hold and for NaN and infinities, which JSON would turn into null.
    """
    _finite(value)
    return orjson.dumps(value, option=_OPTIONS)


def _finite(value: Any) -> None:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        message = f"{value} has no canonical form; only finite numbers have a digest"
        raise TypeError(message)
    if isinstance(value, dict):
        for item in value.values():
            _finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _finite(item)


def digest_of(value: Any) -> str:
    """sha256 of the canonical bytes, as 64 hexadecimal digits."""
    return digest_bytes(canonical(value))


def digest_bytes(content: bytes) -> str:
    """sha256 of ``content``."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def short(digest: str) -> str:
    """The first twelve digits, for people."""
    return digest[:12]


def seed_for(app_seed: int, case: str, step: str, repeat: int) -> int:
    """The 31-bit seed of one generation: a hash, so that neither order nor neighbours decide it."""
    return int(digest_of([app_seed, case, step, repeat])[:8], 16) & 0x7FFFFFFF
