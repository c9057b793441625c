"""Names of people, as far as rules find them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.data.name_patterns import (
    AFTER_CONTACT,
    ANNOUNCED,
    BEFORE_CONTACT,
    CAPITAL_WORD,
    HINTED,
    LIKELY,
    NAME,
    PARTICLE,
    WORD,
)
from harness.data.spans import Span
from harness.data.words import words

# Months that are given names: kept if a second word follows.
_GIVEN_TOO = frozenset(("april", "june", "august", "summer", "rose"))
_NOBODY_BESIDE = frozenset(("PERSON", "SECRET", "NUMBER", "URL", "HANDLE"))


def people(text: str) -> Iterator[Span]:
    """Names that something in the text announces, and names that begin with a well-known given name."""
    for patterns, score, least in ((ANNOUNCED, 0.6, 1), (LIKELY, 0.5, 1), (HINTED, 0.45, 2)):
        for pattern in patterns:
            for found in pattern.finditer(text):
                yield from _named(text, *found.span(1), score, least)
    yield from _by_given_name(text)


def beside(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Names in full that stand directly beside an address, a telephone number or the like."""
    for span in spans:
        if span.entity in _NOBODY_BESIDE:
            continue
        if found := BEFORE_CONTACT.search(text, max(0, span.start - 80), span.start):
            yield from _named(text, *found.span(1), 0.45, 2)
        if found := AFTER_CONTACT.match(text, span.end, span.end + 80):
            yield from _named(text, *found.span(1), 0.45, 2)


def name_words(name: str) -> Iterator[str]:
    """The words of a found name that mean the same person when they stand alone."""
    for found in WORD.finditer(name):
        if len(found.group()) >= 3 and found.group().casefold() not in words("no_names"):
            yield found.group()


def _named(text: str, start: int, end: int, score: float, least: int = 1) -> Iterator[Span]:
    """The name in ``text[start:end]`` up to the first word that is none; nothing if fewer than ``least`` are left."""
    kept: list[re.Match[str]] = []
    for found in WORD.finditer(text, start, end):
        if not _goes_on(found.group().casefold(), bool(kept)):
            break
        kept.append(found)
    while kept and PARTICLE.fullmatch(kept[-1].group()):
        kept.pop()
    first = next((found.group().casefold() for found in kept if not PARTICLE.fullmatch(found.group())), "")
    enough = len(kept) >= least or first in words("given_names")
    if len(first) >= 2 and enough and (len(kept) > 1 or first not in _GIVEN_TOO):
        yield Span(start, kept[-1].end(), "PERSON", score)


def _goes_on(word: str, begun: bool) -> bool:
    """Whether a name can go on with ``word``, or begin with it."""
    if word not in words("no_names"):
        return True
    if begun:
        return bool(PARTICLE.fullmatch(word)) or word in words("surnames_too")
    return word in _GIVEN_TOO


def _by_given_name(text: str) -> Iterator[Span]:
    for found in CAPITAL_WORD.finditer(text):
        word = found.group()
        # EVA is a foam, IDA a form: short words in capitals are abbreviations.
        if word.isupper() and len(word) < 4:
            continue
        given = word.split("-")[0].split("'")[0].casefold()
        if given in words("given_names") and (name := NAME.match(text, found.start())):
            yield from _named(text, *name.span(), 0.45)
