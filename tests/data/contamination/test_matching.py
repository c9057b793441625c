"""The index finds exactly what comparing every pair finds."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.data import contamination
from harness.data.contamination import RULE, Rule, containment, find, matching, words_of

WORDS = ["where", "is", "my", "order", "lamp", "the", "not", "came", "refund", "7", "and", "please"]


def runs(words: Sequence[str], length: int) -> set[str]:
    """The runs of ``length`` words, written apart from the index's own arithmetic."""
    return {" ".join(words[i : i + length]) for i in range(len(words) - length + 1)}


def covered(text: str, other: str, rule: Rule, *, row: bool) -> float:
    """The share of ``text``, a ``row`` or a case, that stands in ``other``; 0 where the rule does not count it."""
    a, b = text.lower().split(), other.lower().split()
    if len(a) < 3:
        return float(bool(a) and a == b)
    length = 3 if len(a) < 16 else 4 if len(a) < 20 else 5
    share = len(runs(a, length) & runs(b, length)) / len(runs(a, length))
    much_longer = len(b) > rule.near_ratio * len(a)
    if len(a) <= 8:
        return share if share >= rule.short and not much_longer else 0.0
    if row and much_longer and (len(a) < rule.piece_words or share < rule.piece):
        return 0.0
    return share if share >= (rule.medium if len(a) <= 15 else rule.long) else 0.0


def brute(items: Sequence[str], rows: Sequence[str], rule: Rule) -> dict[tuple[int, int], float]:
    """Every pair compared."""
    shares = {
        (row, item): max(covered(text, held, rule, row=False), covered(held, text, rule, row=True))
        for row, held in enumerate(rows)
        for item, text in enumerate(items)
    }
    return {pair: share for pair, share in shares.items() if share > 0}


def texts(most: int = 24) -> st.SearchStrategy[list[str]]:
    """Texts of a few words, so that they share much."""
    one = st.lists(st.sampled_from(WORDS), max_size=most).map(" ".join)
    return st.lists(one, max_size=8)


@given(
    texts(),
    texts(),
    st.sampled_from([RULE, Rule(short=1.0, medium=0.6, long=0.5), Rule(near_ratio=1.0, piece=0.3, piece_words=9)]),
)
@example(["my my my my my my my my my my"], ["my my my my", "is my my my my my my my my my my my"], RULE)
@example([], ["where is my order"], RULE)
@example(["where is my order"], [], RULE)
@settings(max_examples=300, deadline=None)
def test_the_index_and_brute_force_agree(items: list[str], rows: list[str], rule: Rule) -> None:
    """The same pairs with the same shares, whatever the texts."""
    found = {(match.row, match.item): match.containment for match in find(items, rows, rule)}
    assert found == pytest.approx(brute(items, rows, rule))


@given(texts(), texts(), st.integers(1, 3), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_portions_change_nothing(items: list[str], rows: list[str], chunk: int, hits: int) -> None:
    """How many rows are read and hits are counted at a time is a matter of memory alone."""
    whole = list(find(items, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "CHUNK", chunk)
        patch.setattr(matching, "HITS", hits)
        assert list(find(items, rows)) == whole


def test_matches_come_by_row_then_item() -> None:
    """The order does not depend on anything but the input."""
    text = "the lamp that i ordered in march has not arrived yet"
    assert [(match.row, match.item) for match in find([text, "x", text], ["y", text, text])] == [
        (1, 0), (1, 2), (2, 0), (2, 2),
    ]  # fmt: skip


LONG = "good morning i ordered a garden bench and the page still says it is being prepared when will it leave roughly"
FILLER = " ".join(f"word{number}" for number in range(90))


@pytest.mark.parametrize(
    ("case", "row", "seen"),
    [
        (LONG, LONG.upper().replace(" ", ",  "), True),
        (LONG, f"Ticket 7. {LONG}. {FILLER}", True),
        (LONG, "the page still says it is being prepared when", True),
        (LONG, "i ordered a garden bench and the page still says it is being prepared", True),
        (f"{LONG} {FILLER}", "i ordered a garden bench and the page still says it is being prepared", False),
        (f"{LONG} {FILLER}", LONG, True),
        (LONG, "the page still says that it is in preparation", False),
        ("I can't sign in", "i cant sign in!", True),
        ("I can't sign in", "if i refuse cookies i can't sign in and when i accept them i am followed by tents", False),
        ("its ORD-47344", "it's ord 47344", True),
        ("its ORD-47344", "its ORD-47345", False),
        ("Hello", "hello", True),
        ("Hello", "hello there", False),
        ("", "", False),
        ("???", "!!!", False),
    ],
)
def test_what_counts_as_seen(case: str, row: str, seen: bool) -> None:
    """Quotes, pieces and other punctuation count; phrases that everybody uses do not."""
    assert bool(list(find([case], [row]))) is seen


def test_words_know_other_scripts() -> None:
    """Composed and decomposed letters are the same; scripts without blanks are read character by character."""
    assert words_of("Où est l’ÉTÉ?") == words_of(unicodedata.normalize("NFD", "où est lété")) == ["où", "est", "lété"]
    assert words_of("我的订单iPhone在哪里") == ["我", "的", "订", "单", "iphone", "在", "哪", "里"]
    assert words_of("ORD-47105_b don't") == ["ord", "47105", "b", "dont"]
    case = "我的订单还没有到请帮我查一下谢谢"
    assert list(find([case], [f"你好{case}再见"]))


def test_containment_is_of_the_first_in_the_second() -> None:
    """A quote holds all of the text; the text holds a part of the quote."""
    quote = f"they wrote {LONG} and then nothing more"
    assert containment(LONG, quote) == 1.0
    assert 0.5 < containment(quote, LONG) < 1.0
    assert containment("ok", "ok") == 0.0


def test_planted_leaks_are_all_found_among_many() -> None:
    """Every case that was put into a row, with a tenth of its words altered, is found and nothing else is."""
    draw = random.Random(5)
    vocabulary = [f"w{number}" for number in range(5000)]
    cases = [" ".join(draw.choices(vocabulary, k=draw.randint(9, 60))) for _ in range(400)]
    rows = [" ".join(draw.choices(vocabulary, k=40)) for _ in range(5000)]
    planted = {}
    for case in range(0, 400, 10):
        words = cases[case].split()
        for place in draw.sample(range(len(words)), len(words) // 10):
            words[place] = "altered"
        row = draw.randrange(len(rows))
        while row in planted:
            row = draw.randrange(len(rows))
        planted[row] = case
        rows[row] = f"before {' '.join(words)} after"
    found = {match.row: match.item for match in contamination.find(cases, rows)}
    assert found == planted
