"""Pieces of a text that say something about a person, and how those that overlap become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """``text[start:end]`` is of the kind ``entity``; ``score`` between 0 and 1 says how sure that is."""

    start: int
    end: int
    entity: str
    score: float


Recogniser = Callable[[str], Iterator[Span]]


def settle(spans: Iterable[Span]) -> list[Span]:
    """Spans without overlap, in the order of the text.

    Spans that overlap become one which covers them all: cutting the loser off would leave its rest in the text. The
    longest names it, then the one with the highest score, then the first in the alphabet.
    """
    settled: list[Span] = []
    cluster: list[Span] = []
    end = -1
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        if cluster and span.start >= end:
            settled.append(_one(cluster))
            cluster = []
            end = -1
        cluster.append(span)
        end = max(end, span.end)
    if cluster:
        settled.append(_one(cluster))
    return settled


def _one(cluster: list[Span]) -> Span:
    best = min(cluster, key=lambda s: (s.start - s.end, -s.score, s.entity, s.start))
    return Span(min(s.start for s in cluster), max(s.end for s in cluster), best.entity, best.score)
