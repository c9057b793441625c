"""Word-level diffs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report import diff
from harness.report.diff import Piece, piece, word_diff


def _shown(pieces: list[Piece]) -> list[tuple[str, str]]:
    return [(p.kind, str(p.head)) for p in pieces]


def test_only_the_changed_words_are_marked() -> None:
    """What both arms wrote is plain; each side marks what the other does not have."""
    left, right = word_diff("the refund is on its way", "the refund was refused")
    assert _shown(left) == [("same", "the refund "), ("del", "is on its way")]
    assert _shown(right) == [("same", "the refund "), ("ins", "was refused")]


@given(st.text(alphabet="ab c\n.", max_size=60), st.text(alphabet="ab c\n.", max_size=60))
@settings(max_examples=60, deadline=None)
def test_both_sides_keep_every_character(before: str, after: str) -> None:
    """The pieces of a side, joined, are the text of that side."""
    left, right = word_diff(before, after)
    assert (before, after) == ("".join(t for _, t in _shown(left)), "".join(t for _, t in _shown(right)))


def test_a_looping_model_costs_no_quadratic_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts that repeat one word are marked whole, without the matcher."""
    monkeypatch.setattr(diff, "SequenceMatcher", None)
    left, right = word_diff("a no no " + "no yes " * 2000, "b yes " + "yes no " * 2000 + "end")
    assert {"del"} == {p.kind for p in left}
    assert {"ins"} == {p.kind for p in right}


def test_long_text_is_folded_and_very_long_text_cut() -> None:
    """Of 100 KB the ends are shown, some of the middle is folded, and the rest is only counted."""
    found = piece("same", "x" * 100_000)
    assert len(found.head) == diff.KEPT
    assert found.folded_length == diff.FOLDED
    assert len(found.head) + found.folded_length + found.cut + len(found.tail) == 100_000
