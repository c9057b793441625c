"""ROUGE: how many words, pairs of words or words in order output and reference share."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal

from harness.evals.checks.expectations import references
from harness.evals.checks.registry import Built, check
from harness.evals.checks.subject import Score, Subject, Unscored, shown

Variant = Literal["rouge1", "rouge2", "rougeL"]
Measure = Literal["f1", "precision", "recall"]

_WORD = re.compile(r"[a-z0-9]+")
_FIELD = {"f1": "fmeasure", "precision": "precision", "recall": "recall"}
# The longest common subsequence fills a table in Python; beyond this it takes seconds.
_MOST_CELLS = 4_000_000


@cache
def _scorer(variant: str, stemmer: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([variant], use_stemmer=stemmer)


@check("rouge", unit="score", expects=True)
def rouge(*, variant: Variant = "rouge1", measure: Measure = "f1", stemmer: bool = False) -> Built:
    """ROUGE-1, -2 or -L (Lin 2004) against the expected text, or the best of several.

    Words are runs of a-z and 0-9 in lower case: a reference without any, such as one in Cyrillic, gives no score.
    ``stemmer`` is Porter's, for English.
    """
    smallest = 2 if variant == "rouge2" else 1

    def run(subject: Subject) -> Score:
        texts, output = references(subject), subject.output
        length = len(_words(output))
        for text in texts:
            if len(_words(text)) < smallest:
                raise Unscored(f"the reference {shown(text)} has fewer than {smallest} words of a-z and 0-9")
            if variant == "rougeL" and len(_words(text)) * length > _MOST_CELLS:
                raise Unscored(f"output and reference are too long for rougeL ({length} words)")
        scorer = _scorer(variant, stemmer)
        return Score(max(float(getattr(scorer.score(text, output)[variant], _FIELD[measure])) for text in texts))

    return Built(run, prepare=lambda: _scorer(variant, stemmer))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
