"""Finding rows whose text is the same as that of an earlier row, or nearly so."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.spec.marts import Deduplicate

EXACT, NEAR = "duplicate", "near duplicate"
_WORD = re.compile(r"\w+")
# A similarity that is exactly the threshold must not fall below it by the last bit.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Duplicate:
    """``row`` says the same as the row ``of``, which stays; both count from 0. ``similarity`` is 1 for exact ones."""

    row: int
    of: int
    reason: str
    similarity: float


def words_of(text: str) -> tuple[str, ...]:
    """The words by which texts are compared: without case, accents' spelling, blanks and punctuation."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def duplicates(texts: Sequence[str], settings: Deduplicate) -> Iterator[Duplicate]:
    """Which of ``texts`` repeat an earlier one that stays.

    Near duplicates: Jaccard similarity of the sets of word n-grams of at least ``near``, computed exactly over an
    inverted index. A pair that similar shares a gram among the rarest few of each (prefix filtering: Chaudhuri,
    Ganti, Kaushik 2006; Xiao, Wang, Lin, Yu 2008), so only those are looked up. A text without a word has no copy.
    """
    words = [words_of(text) for text in texts]
    first: dict[tuple[str, ...], int] = {}
    fresh: list[int] = []
    for row, said in enumerate(words):
        if settings.exact and said and said in first:
            yield Duplicate(row, first[said], EXACT, 1.0)
        else:
            first.setdefault(said, row)
            fresh.append(row)
    if settings.near is not None:
        grams = {row: ngrams(words[row], settings.words) for row in fresh if words[row]}
        yield from _near(grams, settings.near)


def ngrams(words: Sequence[str], n: int) -> frozenset[tuple[str, ...]]:
    """The runs of ``n`` words; a text that is shorter is one run."""
    return frozenset(tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1)))


def _near(grams: Mapping[int, frozenset[tuple[str, ...]]], least: float) -> Iterator[Duplicate]:
    counts = Counter(gram for each in grams.values() for gram in each)
    kept: dict[tuple[str, ...], list[int]] = {}
    for row, own in grams.items():
        rarest = sorted(own, key=lambda gram: (counts[gram], gram))
        prefix = rarest[: len(own) - math.ceil(least * len(own) - _SLACK) + 1]
        candidates = dict.fromkeys(other for gram in prefix for other in kept.get(gram, ()))
        best = max(((_jaccard(own, grams[other], least), -other) for other in candidates), default=(0.0, 0))
        if best[0] >= least - _SLACK and candidates:
            yield Duplicate(row, -best[1], NEAR, best[0])
            continue
        for gram in prefix:
            kept.setdefault(gram, []).append(row)


def _jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]], least: float) -> float:
    if min(len(one), len(other)) < least * max(len(one), len(other)) - _SLACK:
        return 0.0
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
