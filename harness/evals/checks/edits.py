"""Edit distance: how many characters must change."""

from __future__ import annotations

from harness.evals.checks.expectations import expected_text
from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject


def _pair(subject: Subject, ignore_case: bool) -> tuple[str, str]:
    want, got = expected_text(subject), subject.output
    return (want.casefold(), got.casefold()) if ignore_case else (want, got)


@check("edit_similarity", unit="score", expects=True)
def edit_similarity(*, ignore_case: bool = False) -> Run:
    """1 - Levenshtein distance / length of the longer text: 1 for equal texts, 0 for texts with nothing in common."""
    from rapidfuzz.distance import Levenshtein

    return lambda subject: Score(Levenshtein.normalized_similarity(*_pair(subject, ignore_case)))


@check("edit_distance", unit="edits", range=(0.0, None), better="lower", expects=True)
def edit_distance(*, ignore_case: bool = False) -> Run:
    """Levenshtein distance to the expected text: insertions, deletions and replacements of characters."""
    from rapidfuzz.distance import Levenshtein

    return lambda subject: Score(float(Levenshtein.distance(*_pair(subject, ignore_case))))
