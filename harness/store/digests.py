"""Content digests: sha256 over canonical bytes."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import orjson

# A dataclass would slip past the search for NaN.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def canonical(value: Any) -> bytes:
    """``value`` as JSON with sorted keys: the same value gives the same bytes, whatever order its keys came in.

    Numbers keep their kind: 1, 1.0 and true have three different forms. Raises TypeError for what JSON cannot tell
    apart or cannot hold: NaN and infinities (JSON would say null), keys that are not text (1 and "1" would be one
    key), dataclasses, sets, numbers beyond 64 bits.
    """
    content = orjson.dumps(value, option=_OPTIONS)
    # NaN and infinities are written as null: without one there is none to search for.
    if b"null" in content:
        _refuse_infinite(value)
    return content


def _refuse_infinite(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        message = f"{value} has no canonical form; only finite numbers have a digest"
        raise TypeError(message)
    if isinstance(value, dict):
        for item in value.values():
            _refuse_infinite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_infinite(item)


def lf_text(text: str) -> str:
    """``text`` with every line end as LF: a checkout on another system must not change a digest."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def digest_of(value: Any) -> str:
    """sha256 of the canonical bytes, as 64 hexadecimal digits. Raises TypeError as ``canonical`` does."""
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
