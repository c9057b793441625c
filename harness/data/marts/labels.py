"""Labels that the other rows speak against: listed for people to look at, never changed or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.spec.marts import Review

REVISION = 2
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Doubt:
    """``row`` (from 0) has label ``given``, but the others say ``predicted``; ``p_*`` are the probabilities of both."""

    row: int
    given: str
    predicted: str
    p_given: float
    p_predicted: float


def doubts(texts: Sequence[str], labels: Sequence[str | None], groups: Sequence[str], review: Review) -> list[Doubt]:
    """The rows whose label a classifier contradicts that learnt from the other folds, most doubtful first.

    The rule of confident learning (Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in
    Dataset Labels"): a class is confident in a row if its probability reaches the mean that it has over the rows
    labelled with it; a row is doubtful if the likeliest of its confident classes is another than its label. The
    classifier is logistic regression on TF-IDF of words and pieces of words, over folds of whole groups. Rows without
    a label take no part, nor do labels that occur in fewer rows than there are folds.
    """
    known = _frequent(labels, review.folds)
    names = sorted({str(labels[row]) for row in known})
    if len(names) < 2 or len({groups[row] for row in known}) < review.folds:
        return []
    given = [names.index(str(labels[row])) for row in known]
    chances = _out_of_fold([texts[row] for row in known], given, [groups[row] for row in known], review)
    thresholds = _thresholds(given, chances, len(names))
    found = []
    for row, own, chance in zip(known, given, chances):
        other = _confident(chance, thresholds)
        if other is not None and other != own:
            pair = (round(float(chance[own]), _DIGITS), round(float(chance[other]), _DIGITS))
            found.append(Doubt(row, names[own], names[other], *pair))
    return sorted(found, key=lambda doubt: (doubt.p_given - doubt.p_predicted, doubt.row))


def _frequent(labels: Sequence[str | None], folds: int) -> list[int]:
    count: dict[str | None, int] = {}
    for label in labels:
        count[label] = count.get(label, 0) + 1
    return [row for row, label in enumerate(labels) if label is not None and count[label] >= folds]


def _out_of_fold(texts: list[str], given: list[int], groups: list[str], review: Review) -> Any:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline, make_union
    from threadpoolctl import threadpool_limits

    folds = StratifiedGroupKFold(review.folds, shuffle=True, random_state=review.seed)
    chances = np.zeros((len(texts), max(given) + 1))
    labels, lines = np.array(given), np.array(texts, dtype=object)
    # More threads add up in another order, and the last digits differ.
    with threadpool_limits(1):
        for train, test in folds.split(lines, labels, groups):
            model = make_pipeline(
                make_union(
                    TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                    # Pieces of words: customers misspell and shorten.
                    TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
                ),
                LogisticRegression(C=3.0, tol=1e-3, max_iter=1000, class_weight="balanced"),
            )
            model.fit(lines[train], labels[train])
            chances[np.ix_(test, model.classes_)] = model.predict_proba(lines[test])
    return chances


def _thresholds(given: list[int], chances: Any, classes: int) -> list[float]:
    import numpy as np

    labels = np.array(given)
    return [float(chances[labels == name, name].mean()) for name in range(classes)]


def _confident(chance: Any, thresholds: list[float]) -> int | None:
    reached = [name for name, least in enumerate(thresholds) if chance[name] >= least]
    return max(reached, key=lambda name: chance[name]) if reached else None
