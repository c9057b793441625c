"""What the steps ask that SQL cannot say."""

from __future__ import annotations

from itertools import groupby


def longest_run(text: str) -> int:
    """The most times that one character, other than a blank, stands in a row."""
    return max((sum(1 for _ in run) for character, run in groupby(text) if not character.isspace()), default=0)
