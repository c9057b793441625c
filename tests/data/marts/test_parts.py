"""Copies, splits, doubtful labels, names: each part of what happens to the rows, for itself."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.marts.duplicates import EXACT, duplicates, ngrams, words_of
from harness.data.marts.labels import doubts
from harness.data.marts.privacy import Cleaner
from harness.data.marts.splits import place_of, split_of
from harness.spec.marts import Anonymise, Deduplicate, Review

TEXT = st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=9).map(" ".join)


@given(st.lists(TEXT, max_size=14), st.sampled_from((0.2, 1 / 3, 0.5, 0.6, 0.75, 1.0)), st.integers(1, 3))
def test_near_copies_are_those_of_all_pairs(texts: list[str], least: float, n: int) -> None:
    """The index finds what comparing every pair finds: no pair is missed, none is made up."""
    grams = [ngrams(words_of(text), n) for text in texts]
    stay: list[int] = []
    copies = set()
    for row, own in enumerate(grams):
        similar = [len(own & grams[other]) / len(own | grams[other]) for other in stay]
        if any(value >= least - 1e-9 for value in similar):
            copies.add(row)
        else:
            stay.append(row)
    found = list(duplicates(texts, Deduplicate(exact=False, near=least, words=n)))
    assert {copy.row for copy in found} == copies
    for copy in found:
        pair = grams[copy.row], grams[copy.of]
        assert copy.similarity == len(pair[0] & pair[1]) / len(pair[0] | pair[1])
        assert copy.of in stay and copy.of < copy.row


@given(st.lists(TEXT, max_size=12))
def test_exact_copies(texts: list[str]) -> None:
    """Exactly the texts whose words stood before are copies, whatever their case, blanks and punctuation."""
    noisy = [text.lower().replace(" ", " , ") + "!" if index % 2 else text for index, text in enumerate(texts)]
    found = list(duplicates(noisy, Deduplicate()))
    assert [copy.row for copy in found] == [row for row, text in enumerate(texts) if text in texts[:row]]
    assert all(copy.of == texts.index(texts[copy.row]) and copy.reason == EXACT for copy in found)


def test_texts_without_words_are_no_copies() -> None:
    """Two texts of signs only say nothing, and so not the same."""
    assert list(duplicates(["?!", "...", "?!"], Deduplicate(near=0.1))) == []


def test_spellings_of_one_letter_are_the_same() -> None:
    """A letter with its accent apart is the letter with the accent."""
    assert len(list(duplicates(["caf\u00e9 au lait", "cafe\u0301 AU lait"], Deduplicate()))) == 1


SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@given(st.lists(st.text(max_size=12), unique=True, max_size=30), st.text(max_size=12))
def test_a_new_group_moves_no_other(groups: list[str], fresh: str) -> None:
    """The split of a group depends on nothing but the mart's name, the group and the shares."""
    before = {group: split_of("m", group, SHARES) for group in groups}
    split_of("m", fresh, SHARES)
    after = {group: split_of("m", group, SHARES) for group in reversed([*groups, fresh])}
    assert {group: after[group] for group in groups} == before


def test_shares_are_kept() -> None:
    """Of many groups each split gets its share, within five standard errors; another mart deals them otherwise."""
    count = 40_000
    found = Counter(split_of("m", str(group), SHARES) for group in range(count))
    for name, share in SHARES.items():
        assert abs(found[name] / count - share) < 5 * (share * (1 - share) / count) ** 0.5
    other = [split_of("n", str(group), SHARES) for group in range(1000)]
    assert other != [split_of("m", str(group), SHARES) for group in range(1000)]


def test_places_are_those_of_sha256() -> None:
    """A group's place is stated by a hash that any program can compute."""
    import hashlib

    digest = hashlib.sha256(b"support\0C-70001").hexdigest()
    assert place_of("support", "C-70001") == pytest.approx(int(digest[:16], 16) / 2**64, abs=1e-15)
    assert split_of("m", "whatever", {"all": 1.0}) == "all"


def test_wrong_labels_are_found() -> None:
    """Of labels that were swapped most are listed, and the list begins with them."""
    random.seed(7)
    topics = {"parcel": "parcel van late door street", "money": "money bank card paid twice", "size": "small large fit"}
    rows = []
    for number in range(240):
        label = list(topics)[number % 3]
        words = random.choices(topics[label].split(), k=5) + random.choices(
            ["we", "have", "it", "now", "for", "you"], k=4
        )
        rows.append((" ".join(words), label, f"g{number // 2}"))
    wrong = set(range(0, 240, 24))
    given_ = ["size" if row in wrong and label == "parcel" else label for row, (_, label, _) in enumerate(rows)]
    assert sum(one != other for one, (_, other, _) in zip(given_, rows)) == 10
    found = doubts([row[0] for row in rows], given_, [row[2] for row in rows], Review())
    assert len(wrong & {doubt.row for doubt in found[:12]}) >= 9
    assert all(doubt.given == given_[doubt.row] != doubt.predicted for doubt in found)
    again = doubts([row[0] for row in rows], given_, [row[2] for row in rows], Review())
    assert again == found


@pytest.mark.parametrize("labels", [["a"] * 20, [None] * 20, [*"abcdefghijklmnopqrst"]])
def test_labels_that_cannot_be_checked(labels: list[str | None]) -> None:
    """With one label, none, or each but once, nothing can be said against any."""
    assert doubts(["text"] * 20, labels, [str(n) for n in range(20)], Review()) == []


def test_unlabelled_rows_take_no_part() -> None:
    """A row without a label is neither learnt from nor listed."""
    texts = [("red " if n % 2 else "blue ") + f"word{n}" for n in range(40)]
    labels = [None if n % 5 == 0 else ("r" if n % 2 else "b") for n in range(40)]
    assert doubts(texts, labels, [str(n) for n in range(40)], Review()) == []


@pytest.fixture(scope="module")
def cleaner() -> Cleaner:
    """With two names of customers, and order numbers that stay."""
    return Cleaner(Anonymise(keep=(r"(?i)(?:ord[-. ]?)?\d{5}",)), ["Nobuko Hartwell", "Cher", "Ana de la Vega"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("where is ORD-51234? ask nobuko  HARTWELL", "where is ORD-51234? ask <PERSON_1>"),
        ("ord 51234 and 51235 for Ana de la Vega, ana de la vega", "ord 51234 and 51235 for <PERSON_1>, <PERSON_1>"),
        ("Cher is singing", "Cher is singing"),
        ("call +44 7700 900158 about ORD-51234", "call <PHONE_1> about ORD-51234"),
        ("to Hauptstrasse 4, 63897 Miltenstadt", "to <ADDRESS_1>, <ADDRESS_2>"),
        ("I wrote <PERSON_1> myself; Nobuko Hartwell", "I wrote <PERSON_1> myself; <PERSON_2>"),
        ("Nobuko", "Nobuko"),
        ("", ""),
    ],
)
def test_names_and_what_is_kept(cleaner: Cleaner, text: str, kept: str) -> None:
    """Known names go wherever they stand in full; what a pattern keeps must be the whole of what was found."""
    assert cleaner.text(text) == kept


def test_raw_rows(cleaner: Cleaner) -> None:
    """A row of a file loses names and identifiers, whether it is JSON or not."""
    assert cleaner.raw('{"name":"Nobuko Hartwell","n":1}') == '{"name":"<PERSON_1>","n":1}'
    assert cleaner.raw("7,Nobuko Hartwell,a.b@shop.example,,") == "7,<PERSON_1>,<EMAIL_1>,,"


def test_all_pairs_of_the_words() -> None:
    """Runs of words: all of the length, or the text itself if it is shorter."""
    assert ngrams(("a", "b", "c"), 2) == {("a", "b"), ("b", "c")}
    assert ngrams(("a",), 2) == {("a",)}
    assert len({ngrams(pair, 1) for pair in combinations("abc", 2)}) == 3
