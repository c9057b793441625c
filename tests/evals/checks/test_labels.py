"""Confusion tables against hand-made formulas and statsmodels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evals.checks import confusion

PAIRS = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "a"), ("c", "c"), ("c", None), ("c", "zzz")]


def test_by_hand() -> None:
    """Every figure of a table of eight rows as computed on paper; strange labels stand under None."""
    table = confusion(PAIRS, labels=["a", "b", "c"])
    assert table.n == 8
    assert table.accuracy == pytest.approx(4 / 8)
    assert table.table["c"] == {"a": 0, "b": 0, "c": 1, None: 2}
    a, b, c = (table.by_label[label] for label in "abc")
    assert (a.precision, a.recall, a.support, a.predicted) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3, 3)
    assert (b.precision, b.recall) == (pytest.approx(1 / 2), pytest.approx(1 / 2))
    assert (c.precision, c.recall, c.f1) == (1.0, pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert table.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert table.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1 / 3) / 3)
    assert table.kappa == pytest.approx((0.5 - 16 / 64) / (1 - 16 / 64))


def test_undefined_figures_are_none() -> None:
    """Precision of a label never predicted, recall of one never expected, kappa where chance agrees always."""
    table = confusion([("a", "b"), ("a", "a")], labels=["a", "b", "c"])
    assert table.by_label["b"].recall is None
    assert table.by_label["c"].precision is None
    assert table.by_label["c"].f1 is None
    assert table.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
    assert confusion([("a", "a")]).kappa is None


def test_refuses_nothing_and_strangers() -> None:
    """No pairs, or an expected label outside the labels, is an error that names it."""
    with pytest.raises(ValueError, match="at least one pair"):
        confusion([])
    with pytest.raises(ValueError, match="'x' is none of a, b"):
        confusion([("x", "a")], labels=["a", "b"])


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40))
def test_against_definitions(pairs: list[tuple[str, str]]) -> None:
    """Accuracy, recalls, F1 and kappa follow their definitions on any table."""
    table = confusion(pairs, labels=list("abc"))
    assert table.accuracy == pytest.approx(np.mean([want == got for want, got in pairs]))
    support = Counter(want for want, _ in pairs)
    recalls = [sum(pair == (label, label) for pair in pairs) / count for label, count in support.items()]
    assert table.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert sum(sum(row.values()) for row in table.table.values()) == len(pairs)
    for quality in table.by_label.values():
        if quality.precision and quality.recall:
            harmonic = 2 * quality.precision * quality.recall / (quality.precision + quality.recall)
            assert quality.f1 == pytest.approx(harmonic)


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 20), min_size=9, max_size=9))
def test_kappa_against_statsmodels(counts: list[int]) -> None:
    """Cohen's kappa is that of statsmodels."""
    from statsmodels.stats.inter_rater import cohens_kappa

    matrix = np.array(counts).reshape(3, 3)
    pairs = [("abc"[i], "abc"[j]) for i in range(3) for j in range(3) for _ in range(matrix[i, j])]
    assert confusion(pairs).kappa == pytest.approx(cohens_kappa(matrix, return_results=False))
