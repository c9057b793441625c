"""What inputs look like, as far as drift is concerned: length, language, a step's label, and their letters."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from harness.spec.language import guess_language
from harness.spec.monitor import DriftFeature
from harness.stats.distributions import Floats

MAX_CHARACTERS = 1000
_WIDTH = 512
_NGRAMS = (2, 3, 4)
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*(?:_\d+)?>")
# Noise adds about (bins - 1)(1/n + 1/m) to the index: small samples in many bins would never be proven alike.
_MOST_BINS, _FEWEST_BINS, _A_BIN = 8, 3, 40
_MOST_CATEGORIES = 12
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Input:
    """One anonymised input, cut to a thousand characters, with its whole length and the labels that steps gave it."""

    text: str
    length: int
    labels: Mapping[str, str] = field(default_factory=dict)


def make_input(text: str, labels: Mapping[str, str] | None = None) -> Input:
    """The input as it is compared."""
    return Input(text[:MAX_CHARACTERS], len(text), labels or {})


def shown_text(logged: str) -> str:
    """The user's words in ``input`` of a row: the last message, or the longest of an app's inputs."""
    if not logged.startswith('{"'):
        return logged
    try:
        content = orjson.loads(logged)
    except ValueError:
        # A text that was cut at its greatest length is no whole JSON any more.
        return logged
    if not isinstance(content, dict) or not {"messages", "inputs"} <= content.keys():
        return logged
    turns = content["messages"] if isinstance(content["messages"], list) else []
    messages = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    texts = [text for text in messages if isinstance(text, str)]
    if texts:
        return str(texts[-1])
    return longest(content["inputs"])


def longest(inputs: Any) -> str:
    """The longest text among an app's inputs, which is what the user wrote."""
    values = inputs.values() if isinstance(inputs, dict) else ()
    return max((value for value in values if isinstance(value, str)), key=len, default="")


@lru_cache(maxsize=50_000)
def language_of(text: str) -> str:
    """The language of a text without its placeholders; UsageError where none can be guessed."""
    return guess_language(_PLACEHOLDER.sub(" ", text))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in bins that the reference fixed: by ``edges`` (the first of each bin but the lowest) or by ``names``."""

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def of(self, values: Sequence[Any]) -> tuple[int, ...]:
        """The counts of other values in these bins; names that the reference does not have are ``(other)``."""
        counts = [0] * len(self.counts)
        for value in values:
            counts[self._bin(value)] += 1
        return tuple(counts)

    def labels(self) -> list[str]:
        """The bins for people."""
        if self.names:
            return list(self.names)
        ends = [f"{edge:g}" for edge in self.edges]
        starts = ["0", *ends]
        return [f"{start} to {end}" for start, end in zip(starts, ends, strict=False)] + [f"{starts[-1]} and more"]

    def _bin(self, value: Any) -> int:
        if not self.names:
            return bisect_right(self.edges, value)
        return self.names.index(value) if value in self.names else self.names.index(OTHER)


def histogram(feature: DriftFeature, inputs: Sequence[Input]) -> Histogram:
    """The bins that these inputs fix for a feature, with their counts."""
    values = values_of(feature, inputs)
    if feature.kind == "length":
        bins = max(_FEWEST_BINS, min(_MOST_BINS, len(values) // _A_BIN))
        cuts = np.quantile(values or [0], np.arange(1, bins) / bins, method="higher")
        empty = Histogram((0,) * (len(set(cuts.tolist())) + 1), edges=tuple(sorted(set(cuts.tolist()))))
    else:
        common = [name for name, _ in Counter(values).most_common(_MOST_CATEGORIES)]
        empty = Histogram((0,) * (len(common) + 1), names=(*sorted(common), OTHER))
    return Histogram(empty.of(values), empty.edges, empty.names)


def values_of(feature: DriftFeature, inputs: Sequence[Input]) -> list[Any]:
    """The feature's value of each input that has one; without its text an input has neither length nor language."""
    if feature.kind == "length":
        return [each.length for each in inputs if each.text]
    if feature.kind == "language":
        return [language_of(each.text) for each in inputs if each.text]
    return [each.labels[feature.id] for each in inputs if feature.id in each.labels]


def letters(texts: Sequence[str]) -> Floats:
    """Each text as the logarithms of its counts of hashed runs of two to four characters, and of its length."""
    found = np.zeros((len(texts), _WIDTH + 1))
    for place, text in enumerate(texts):
        plain = f" {' '.join(text.casefold().split())} "
        for size in _NGRAMS:
            for start in range(len(plain) - size + 1):
                found[place, zlib.crc32(plain[start : start + size].encode("utf-8", "replace")) % _WIDTH] += 1
        found[place, _WIDTH] = len(plain)
    return np.asarray(np.log1p(found))
