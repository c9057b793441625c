"""Which texts hold which cases: an inverted index of runs of words, exact in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from harness.data.contamination.levels import Flat, Ints, Level, Levels, Small
from harness.data.contamination.rule import RULE, SHORTEST, Rule, run_length, run_lengths
from harness.data.contamination.words import words_of

CHUNK = 4096
"""Texts that are looked up at a time."""
HITS = 2_000_000
"""Hits that are counted at a time: what bounds the memory where everybody shares a phrase."""


@dataclass(frozen=True, slots=True)
class Match:
    """``row`` (place among the rows) and ``item`` (place among the items) share too much.

    ``containment`` is the share of runs of the one text that stands in the other, the larger of both directions.
    """

    item: int
    row: int
    containment: float


@dataclass(frozen=True, slots=True)
class _Postings:
    """The items that hold each run; those of run r stand at ``starts[r]`` to ``starts[r + 1]``."""

    starts: Ints
    items: Small

    @classmethod
    def of(cls, runs: Small, items: Small) -> _Postings:
        """From distinct (run, item) pairs, sorted by run."""
        count = int(runs[-1]) + 1 if runs.size else 0
        starts = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(np.bincount(runs, minlength=count), out=starts[1:])
        return cls(starts, items)

    def sizes(self, runs: Small) -> Ints:
        """How many items hold each run; none for runs beyond the last that is held."""
        inside = runs < self.starts.size - 1
        capped = np.where(inside, runs, 0)
        if self.starts.size == 1:
            return np.zeros(runs.size, dtype=np.int64)
        return np.where(inside, self.starts[capped + 1] - self.starts[capped], 0)


class Finder:
    """Texts of cases, ready to be looked for in any number of rows."""

    def __init__(self, items: Sequence[str], rule: Rule = RULE) -> None:
        self._rule = rule
        texts = [words_of(text) for text in items]
        self._sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        self._tiny: dict[tuple[str, ...], list[int]] = {}
        for place, text in enumerate(texts):
            if 0 < len(text) < SHORTEST:
                self._tiny.setdefault(tuple(text), []).append(place)
        self._vocabulary: dict[str, int] = {}
        for text in texts:
            for word in text:
                self._vocabulary.setdefault(word, len(self._vocabulary))
        flat = Flat.of(texts, self._vocabulary)
        self._levels = Levels(flat)
        self._every: dict[int, _Postings] = {}
        self._fitting: dict[int, _Postings] = {}
        self._distinct = np.zeros(len(texts), dtype=np.int64)
        lengths = run_lengths(self._sizes)
        for level in self._levels.own:
            runs, holders = _distinct(level.runs, flat.owner[level.places])
            self._every[level.length] = _Postings.of(runs, holders)
            fits = lengths[holders] == level.length
            self._fitting[level.length] = _Postings.of(runs[fits], holders[fits])
            self._distinct += np.bincount(holders[fits], minlength=len(texts))

    def find(self, rows: Iterable[str]) -> Iterator[Match]:
        """Every pair that the rule counts, by row; ``rows`` is read once, in chunks."""
        first = 0
        texts = map(words_of, rows)
        while chunk := list(islice(texts, CHUNK)):
            found = self._in_chunk(chunk)
            yield from (Match(item, first + row, share) for (row, item), share in sorted(found.items()))
            first += len(chunk)

    def _in_chunk(self, rows: Sequence[Sequence[str]]) -> dict[tuple[int, int], float]:
        found: dict[tuple[int, int], float] = {}
        for place, row in enumerate(rows):
            if 0 < len(row) < SHORTEST:
                found.update({(place, item): 1.0 for item in self._tiny.get(tuple(row), ())})
        flat = Flat.of(rows, self._vocabulary)
        sizes = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        lengths = run_lengths(sizes)
        for level in self._levels.runs_of(flat):
            holders, runs = _distinct(flat.owner[level.places], level.runs)
            for held, item, count in self._shared(holders, runs, self._fitting[level.length]):
                shares = count / self._distinct[item]
                enough = self._rule.counts(shares, self._sizes[item], sizes[held])
                _keep(found, held[enough], item[enough], shares[enough])
            fits = lengths[holders] == level.length
            for held, item, count in self._shared(holders[fits], runs[fits], self._every[level.length]):
                shares = count / _distinct_counts(rows, held, level)
                enough = self._rule.pieces(shares, sizes[held], self._sizes[item])
                _keep(found, held[enough], item[enough], shares[enough])
        return found

    def _shared(self, holders: Small, runs: Small, postings: _Postings) -> Iterator[tuple[Ints, Ints, Ints]]:
        """(row, item, how many distinct runs they share), in bounded portions; ``holders`` is sorted."""
        sizes = postings.sizes(runs)
        held = sizes > 0
        holders, runs, sizes = holders[held], runs[held], sizes[held]
        for part in _portions(holders, sizes):
            counts = sizes[part]
            offsets = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            items = postings.items[np.repeat(postings.starts[runs[part]], counts) + offsets]
            keys = np.repeat(holders[part].astype(np.int64), counts) * self._sizes.size + items
            pairs, shared = np.unique(keys, return_counts=True)
            yield pairs // self._sizes.size, pairs % self._sizes.size, shared


def _keep(found: dict[tuple[int, int], float], rows: Ints, items: Ints, shares: NDArray[np.float64]) -> None:
    for row, item, share in zip(rows.tolist(), items.tolist(), shares.tolist(), strict=True):
        found[row, item] = max(found.get((row, item), 0.0), share)


def _portions(holders: Small, sizes: Ints) -> Iterator[slice]:
    """Slices with about ``HITS`` hits each that leave a row's runs together."""
    if not holders.size:
        return
    ends = np.flatnonzero(np.diff(holders, append=holders[-1] + 1)) + 1
    hits = np.cumsum(sizes)[ends - 1]
    start, row, done = 0, 0, 0
    while row < ends.size:
        # A row is never divided: one with more hits is a portion of its own.
        last = max(row, int(np.searchsorted(hits, done + HITS, side="right")) - 1)
        yield slice(start, int(ends[last]))
        start, row, done = int(ends[last]), last + 1, int(hits[last])


def _distinct(first: Small, second: Small) -> tuple[Small, Small]:
    """The distinct pairs, sorted."""
    keys = np.unique(first.astype(np.int64) << 32 | second.astype(np.int64))
    return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)


def _distinct_counts(rows: Sequence[Sequence[str]], held: Ints, level: Level) -> NDArray[np.float64]:
    """How many distinct runs each of the rows has, words that no case knows included."""
    places, inverse = np.unique(held, return_inverse=True)
    counts = [len(_runs(rows[place], level.length)) for place in places.tolist()]
    return np.asarray(counts, dtype=np.float64)[inverse]


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def find(items: Sequence[str], rows: Iterable[str], rule: Rule = RULE) -> Iterator[Match]:
    """Every pair of a row and an item of which one holds enough of the other (``Rule``), by row, then by item."""
    return Finder(items, rule).find(rows)


def containment(text: str, other: str) -> float:
    """The share of the distinct runs of ``text`` that stand in ``other``; 0 for texts under three words."""
    words, others = words_of(text), words_of(other)
    if len(words) < SHORTEST:
        return 0.0
    length = run_length(len(words))
    runs = _runs(words, length)
    return len(runs & _runs(others, length)) / len(runs)
