"""Every run of words of a set of texts, numbered level by level in sorted arrays.

A run of k words is the pair (number of its first k - 1 words, number of its last word), and its number is the pair's
rank among all pairs of the level. So numbers are exact, no two runs share one as hashes may, and a text that is looked
up drops every position whose shorter run is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.contamination.rule import LONGEST, SHORTEST

Ints = NDArray[np.int64]
Small = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Flat:
    """Texts as one array of word numbers (-1: a word that the index does not know).

    ``owner`` is the text of each position, ``rest`` how many words are left in it from there on.
    """

    words: Small
    owner: Small
    rest: Small

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], vocabulary: Mapping[str, int]) -> Flat:
        """The texts by the numbers of ``vocabulary``."""
        sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        known = (vocabulary.get(word, -1) for text in texts for word in text)
        words = np.fromiter(known, dtype=np.int32, count=int(sizes.sum()))
        owner = np.repeat(np.arange(len(texts), dtype=np.int32), sizes)
        ends = np.repeat(np.cumsum(sizes), sizes)
        return cls(words, owner, (ends - np.arange(words.size)).astype(np.int32))


@dataclass(frozen=True, slots=True)
class Level:
    """The runs of one length: where they start, and their numbers."""

    length: int
    places: Ints
    runs: Small


class Levels:
    """The runs of ``flat``; texts are looked up with ``runs_of``."""

    def __init__(self, flat: Flat) -> None:
        self._pairs: dict[int, NDArray[np.uint64]] = {}
        self.own = tuple(self._walk(flat, learn=True))

    def runs_of(self, flat: Flat) -> Iterator[Level]:
        """The runs of other texts that are known here, three to five words long."""
        return self._walk(flat, learn=False)

    def _walk(self, flat: Flat, *, learn: bool) -> Iterator[Level]:
        places = np.flatnonzero(flat.words >= 0)
        runs = flat.words[places]
        for length in range(2, LONGEST + 1):
            long_enough = flat.rest[places] >= length
            places, runs = places[long_enough], runs[long_enough]
            last = flat.words[places + (length - 1)]
            known = last >= 0
            places, runs, last = places[known], runs[known], last[known]
            pairs = runs.astype(np.uint64) << np.uint64(32) | last.astype(np.uint64)
            if learn:
                self._pairs[length], runs = _numbered(pairs)
            else:
                runs, found = _looked_up(pairs, self._pairs[length])
                places, runs = places[found], runs[found]
            if length >= SHORTEST:
                yield Level(length, places, runs)


def _numbered(pairs: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], Small]:
    distinct, ranks = np.unique(pairs, return_inverse=True)
    return distinct, ranks.astype(np.int32)


def _looked_up(pairs: NDArray[np.uint64], known: NDArray[np.uint64]) -> tuple[Small, NDArray[np.bool_]]:
    if not known.size:
        return np.zeros(pairs.size, dtype=np.int32), np.zeros(pairs.size, dtype=np.bool_)
    ranks = np.searchsorted(known, pairs)
    ranks[ranks == known.size] = 0
    return ranks.astype(np.int32), known[ranks] == pairs
