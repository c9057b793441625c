"""The texts of cases and the texts that a model learns from or is shown, and the pairs of both that share too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from harness.data.contamination.matching import Finder
from harness.data.contamination.rule import SHORTEST
from harness.data.contamination.words import words_of
from harness.spec.suites import Case

SHOWN_WORDS = 12


@dataclass(frozen=True, slots=True)
class CaseText:
    """One text of one case; ``place`` is where it stands in the row, such as ``inputs.message`` or ``messages.0``."""

    case: str
    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Learnt:
    """One text that a model learns from or is shown: a ``column`` of a ``row`` of a mart, or a line of a prompt."""

    row: str
    split: str
    column: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A case and a row of which one holds too much of the other.

    ``containment`` is the share of runs of words of the shorter text that stands in the longer; ``shared`` is the
    longest run of words that both have.
    """

    case: str
    place: str
    source: str
    row: str
    split: str
    column: str
    containment: float
    shared: str

    @property
    def waivable(self) -> tuple[str, str, str]:
        """What a waiver names: case, mart (or what it stands for) and row."""
        return self.case, self.source, self.row

    @property
    def where(self) -> str:
        """The row, with what it is a row of."""
        return f"{self.row} of " + (f"mart {self.source} ({self.split})" if self.split else self.source)

    @property
    def sentence(self) -> str:
        """Where the case was seen, as the end of a sentence that begins with it."""
        share = "all" if self.containment >= 1 else f"{100 * self.containment:.0f} %"
        return f"stands in {self.where}: {share} of it, “{self.shared}”"

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


def case_texts(cases: Iterable[Case]) -> list[CaseText]:
    """Every text that the app is given in a case: all strings of its inputs and all turns of a dialogue.

    Values of one or two words (a channel, a tier) are no text, unless the case has nothing else.
    """
    found: list[CaseText] = []
    for case in cases:
        texts = [CaseText(case.id, f"messages.{place}", turn.content) for place, turn in enumerate(case.messages)]
        texts += [CaseText(case.id, place, text) for place, text in _strings("inputs", case.inputs)]
        long = [text for text in texts if len(words_of(text.text)) >= SHORTEST]
        found += long or texts
    return found


def _strings(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(f"{place}.{name}", item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _strings(f"{place}.{number}", item)


def pairs(texts: Sequence[CaseText], source: str, learnt: Sequence[Learnt], finder: Finder | None = None) -> list[Pair]:
    """Every pair of a case and a row of ``source`` that counts, the strongest text of each; by case, then row.

    ``finder`` is one over exactly ``texts``, where several sources are searched.
    """
    best: dict[tuple[str, str], Pair] = {}
    finder = finder or Finder([text.text for text in texts])
    for match in finder.find(row.text for row in learnt):
        text, row = texts[match.item], learnt[match.row]
        known = best.get((text.case, row.row))
        if known is None or match.containment > known.containment:
            shared = _shared(text.text, row.text)
            best[text.case, row.row] = Pair(
                text.case, text.place, source, row.row, row.split, row.column, round(match.containment, 4), shared
            )
    return sorted(best.values(), key=lambda pair: (pair.case, pair.row))


def _shared(text: str, other: str) -> str:
    """The longest run of words of both; of a long one the beginning."""
    words, others = words_of(text), words_of(other)
    block = SequenceMatcher(None, words, others, autojunk=False).find_longest_match()
    shown = words[block.a : block.a + min(block.size, SHOWN_WORDS)]
    return " ".join(shown) + (" …" if block.size > SHOWN_WORDS else "")
