"""How long an output is."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, verdict

Count = Annotated[int, Field(ge=0)]
Unit = Literal["chars", "words", "sentences"]

_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"')\]»”’]*(?=\s|$)")


def length_of(text: str, unit: Unit) -> int:
    """Unicode characters, words between blanks, or sentences (ends followed by a blank; a rest counts as one)."""
    if unit == "chars":
        return len(text)
    if unit == "words":
        return len(text.split())
    return sum(1 for part in _SENTENCE_END.split(text) if part.strip())


@check("length")
def length(*, unit: Unit = "chars", minimum: Count = 1, maximum: Count | None = None) -> Run:
    """The output has ``minimum`` to ``maximum`` characters, words or sentences, both included.

    An empty output passes only where ``minimum`` is 0. Sentences are counted by their end marks: "e.g. this" is two.
    """
    if maximum is not None and maximum < minimum:
        message = f"setting 'maximum' = {maximum}: must be at least 'minimum' = {minimum}"
        raise ValueError(message)

    def run(subject: Subject) -> Score:
        if minimum and not subject.output.strip():
            return Score(0.0, "the output is empty")
        count = length_of(subject.output, unit)
        if count < minimum:
            return Score(0.0, f"{count} {unit}, at least {minimum} wanted")
        return verdict(maximum is None or count <= maximum, f"{count} {unit}, at most {maximum} wanted")

    return run
