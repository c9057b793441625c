"""Laws that hold for all texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.evals.checks import Check, Score, Subject, build_check
from harness.evals.checks.expectations import json_equal
from harness.evals.checks.matching import normalised
from harness.evals.checks.numbers import numbers_in

texts = st.text(max_size=60)
words = st.lists(st.text("abx09", min_size=1, max_size=2), max_size=12).map(" ".join)
sentences = st.lists(st.text("abx09", min_size=1, max_size=2), min_size=2, max_size=12).map(" ".join)
steady = settings(deadline=None)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5, allow_nan=False) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@cache
def _check(name: str, **settings: Any) -> Check:
    return build_check(name, settings, suite_dir=Path())


def _score(name: str, output: str, expect: Any, **settings: Any) -> Score:
    (score,) = _check(name, **settings).run(Subject(output, expect=expect))
    return score


@pytest.mark.parametrize("name", ["exact_match", "equals", "edit_similarity", "contains", "starts_with", "ends_with"])
@steady
@given(text=texts)
def test_reflexive(name: str, text: str) -> None:
    """Every text that is not empty matches itself."""
    assume(text)
    assert _score(name, text, text).value == 1


@steady
@given(text=texts)
def test_normalising_twice_changes_nothing(text: str) -> None:
    """Normalising is idempotent, so a text that it leaves something of matches itself."""
    once = normalised(text)
    assert normalised(once) == once
    if once:
        assert _score("normalised_match", text, text).value == 1


@steady
@given(left=texts, right=texts)
def test_edit_measures(left: str, right: str) -> None:
    """Similarity lies in [0, 1], both measures are symmetric, and they say the same."""
    assume(left and right)
    near, distance = _score("edit_similarity", left, right).value, _score("edit_distance", left, right).value
    assert near is not None
    assert distance is not None
    assert 0 <= near <= 1
    assert near == _score("edit_similarity", right, left).value
    assert distance == _score("edit_distance", right, left).value
    assert near == pytest.approx(1 - distance / max(len(left), len(right)))


@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL"])
@steady
@given(left=sentences, right=sentences)
def test_rouge(variant: str, left: str, right: str) -> None:
    """F1 is symmetric and in [0, 1]; precision one way is recall the other way; a text has all of itself."""
    f1 = _score("rouge", left, right, variant=variant).value
    assert f1 is not None
    assert 0 <= f1 <= 1
    assert f1 == pytest.approx(_score("rouge", right, left, variant=variant).value)
    precision = _score("rouge", left, right, variant=variant, measure="precision").value
    assert precision == pytest.approx(_score("rouge", right, left, variant=variant, measure="recall").value)
    assert _score("rouge", left, left, variant=variant).value == 1


@steady
@given(left=words, right=words)
def test_rouge1_by_counting(left: str, right: str) -> None:
    """ROUGE-1 recall is the clipped count of shared words over the reference's words."""
    assume(right.split())
    want, got = right.split(), left.split()
    shared = sum(min(want.count(word), got.count(word)) for word in set(want))
    assert _score("rouge", left, right, measure="recall").value == pytest.approx(shared / len(want))


@steady
@given(text=texts, part=st.text(min_size=1, max_size=3))
def test_contains_and_not_contains_disagree(text: str, part: str) -> None:
    """On an output that says something, exactly one of the two holds."""
    # What parses as nothing ("null") counts as empty.
    assume(_score("not_contains", text, "\0").reason != "the output is empty")
    assert _score("contains", text, part).value != _score("not_contains", text, part).value


@steady
@given(value=json_values)
def test_json_equality_is_reflexive(value: Any) -> None:
    """A JSON value equals itself."""
    assert json_equal(value, value)


@steady
@given(left=json_values, right=json_values)
def test_json_equality_is_symmetric(left: Any, right: Any) -> None:
    """The order of the two does not count."""
    assert json_equal(left, right) == json_equal(right, left)


@steady
@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_numbers_are_read_back(number: Any) -> None:
    """A number written plainly or with grouped thousands is found as it was."""
    assert numbers_in(f"It is {number} now.") == [number]
    assert numbers_in(f"It is {number:,} now.") == [number]
