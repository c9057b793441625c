"""Lists of words that recognisers go by, kept as text beside the code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files


@cache
def words(name: str) -> frozenset[str]:
    """The words of ``words/<name>.txt``, case-folded and without accents as in a folded text."""
    text = files("harness.data").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


def either(*phrases: str | Iterable[str]) -> str:
    """A pattern for any of these phrases; each argument may hold several, parted by ``|`` or in a list."""
    return f"(?:{'|'.join(p if isinstance(p, str) else '|'.join(p) for p in phrases)})"
