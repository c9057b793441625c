"""Which split a row belongs to: by a hash of its group, so that a new row never moves an old one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_WHOLE = 2**64


def place_of(mart: str, group: str) -> float:
    """Where ``group`` falls in [0, 1): the first 64 bits of sha256 over the mart's name, a NUL and the group."""
    digest = hashlib.sha256(f"{mart}\0{group}".encode()).digest()
    # A double holds 53 bits: with 64 the highest places would round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / (_WHOLE >> 11)


def split_of(mart: str, group: str, shares: Mapping[str, float]) -> str:
    """The split of ``group``: the shares lie beside each other in the order of the file."""
    place, end = place_of(mart, group), 0.0
    for name, share in shares.items():
        end += share
        if place < end:
            return name
    return name
