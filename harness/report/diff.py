"""Two outputs side by side, word by word."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from markupsafe import Markup

from harness.report.visible import as_html

Kind = Literal["same", "del", "ins"]

# The matcher's work is the sum over words of (times in one text) x (times in the other); a model caught in a loop
# repeats one word thousands of times, and the page must not take minutes for it.
MAX_WORK = 30_000
OPEN = 1_200
KEPT = 500
FOLDED = 10_000

_NOTHING = Markup()
_WORD = re.compile(r"\s+|\w+\s*|[^\w\s]\s*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text of one kind.

    ``head`` and ``tail`` are shown, ``folded`` on demand, ``cut`` characters not at all.
    """

    kind: Kind
    head: Markup
    folded: Markup = _NOTHING
    folded_length: int = 0
    tail: Markup = _NOTHING
    cut: int = 0


def words(text: str) -> list[str]:
    """Words and marks, each with the white space after it; joined again they are ``text``."""
    return _WORD.findall(text)


def word_diff(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """The pieces of ``before`` (same, del) and of ``after`` (same, ins)."""
    left: list[Piece] = []
    right: list[Piece] = []
    for same, old, new in _runs(words(before), words(after)):
        if same:
            left.append(piece("same", same))
            right.append(piece("same", same))
        if old:
            left.append(piece("del", old))
        if new:
            right.append(piece("ins", new))
    return left, right


def piece(kind: Kind, text: str) -> Piece:
    """``text`` as one piece, its middle folded away when it is long."""
    if len(text) <= OPEN:
        return Piece(kind, as_html(text))
    tail = KEPT // 2
    middle = text[KEPT:-tail]
    kept = middle[:FOLDED]
    return Piece(kind, as_html(text[:KEPT]), as_html(kept), len(kept), as_html(text[-tail:]), len(middle) - len(kept))


def _runs(a: list[str], b: list[str]) -> list[tuple[str, str, str]]:
    """(unchanged text, then the text that was removed, then the text that was added), in order."""
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    runs = [("".join(a[:start]), "", "")]
    for same, removed, added in _matched(old, new):
        runs.append((same, removed, added))
    runs.append(("".join(a[len(a) - end :]), "", ""))
    return runs


def _matched(old: list[str], new: list[str]) -> list[tuple[str, str, str]]:
    times = Counter(new)
    if sum(times[word] for word in old) > MAX_WORK:
        return [("", "".join(old), "".join(new))]
    runs = []
    at_old = at_new = 0
    for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
        same = old[block.a : block.a + block.size]
        # One short word between two changes is a coincidence that only makes the change harder to read.
        alone = block.size == 1 and len(same[0].strip()) <= 3 and block.a > at_old and block.b > at_new
        if alone and block.a + 1 < len(old) and block.b + 1 < len(new):
            continue
        runs.append(("", "".join(old[at_old : block.a]), "".join(new[at_new : block.b])))
        runs.append(("".join(same), "", ""))
        at_old, at_new = block.a + block.size, block.b + block.size
    return runs


def _common(a: list[str], b: list[str]) -> int:
    size = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        size += 1
    return size
