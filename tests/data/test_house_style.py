"""The mart of messy drafts: what its code breaks is what the house rules of publishing find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.functions import load_function

ROOT = Path(__file__).parents[2]
MART, SUITE = ROOT / "data" / "house_style", ROOT / "suites" / "publishing"
DRAFT: Callable[[str, str], str] = load_function(MART, "functions.py:messy_draft")
RULES: Callable[[str, str], str] = load_function(MART, "functions.py:broken_rules")
BREAKS: Callable[[str], bool] = load_function(MART, "functions.py:breaks_a_rule")
SPOTS: Callable[[str], int] = load_function(MART, "functions.py:spot_count")
BROKEN: Callable[[str], tuple[str, ...]] = load_function(SUITE, "rules.py:broken")
REPAIRED: Callable[[str], str] = load_function(SUITE, "rules.py:repaired")

CLEAN = [
    "Mr Hall and Ms Reed said three of the bridges will close on 4 May, which costs £12,000 and more.",
    'The UK organisation said that about 40 per cent of its members were women, and that "nobody is left out".',
    "The centre, which is run by Dr Price, has had to turn five families away since 12 June and cannot help them.",
    "The EU wants £5m for two programmes, and the US has cancelled its defence talks with the police.",
    "He travelled 15,000 miles with four colleagues, and the theatre honoured him in the colours of the club.",
]
EVERY_RULE = {
    "abbreviations", "ampersand", "dates", "doubled", "exclamation", "per_cent", "pounds", "quotes", "shouting",
    "small_numbers", "spacing", "spelling", "thousands", "titles",
}  # fmt: skip


@given(texts=st.lists(st.sampled_from(CLEAN), min_size=1, max_size=2, unique=True), key=st.text(max_size=12))
def test_draft_breaks_what_it_says(texts: list[str], key: str) -> None:
    """A draft breaks exactly the rules that its row names, four at most, and repairing it gives the clean text back."""
    clean = " ".join(texts)
    draft, rules = DRAFT(clean, key), RULES(clean, key)
    assert ",".join(sorted(BROKEN(draft))) == rules
    assert len(rules.split(",")) <= 4
    assert REPAIRED(draft) == clean


def test_every_rule_is_broken_by_some_draft_and_some_drafts_break_none() -> None:
    """Over many rows each rule is taught, and so is leaving a clean text alone."""
    rows = [RULES(text, f"row {number}") for text in CLEAN for number in range(200)]
    assert {rule for row in rows for rule in row.split(",") if rule} == EVERY_RULE
    assert 0.08 < rows.count("") / len(rows) < 0.2


def test_draft_is_the_same_everywhere() -> None:
    """What a row breaks is decided by its text and its id alone, in this process and in any other."""
    assert [RULES(CLEAN[0], f"40202028/{number:03}") for number in range(3)] == [
        "pounds,small_numbers,thousands",
        "ampersand,dates,exclamation,small_numbers",
        "dates,pounds,small_numbers,thousands",
    ]
    assert SPOTS(CLEAN[0]) == 5


@pytest.mark.parametrize("text", CLEAN)
def test_clean_text_is_taken(text: str) -> None:
    """A text in house style may be learned from."""
    assert not BREAKS(text)


@given(text=st.sampled_from(CLEAN), key=st.text(max_size=12))
def test_text_that_breaks_a_rule_is_not_taken(text: str, key: str) -> None:
    """Nothing that the suite would call broken is taught as clean."""
    draft = DRAFT(text, key)
    assert BREAKS(draft) == bool(BROKEN(draft))


def test_articles_of_the_suite_are_held_out() -> None:
    """No article that the suite asks about may be learned from: the list names exactly these."""
    asked = [
        str(row)
        for file in ("xsum.yaml", "xsum_messy.yaml")
        for row in yaml.safe_load((SUITE / "cases" / file).read_text(encoding="utf-8"))["rows"]
    ]
    lines = (MART / "held_out.csv").read_text(encoding="utf-8").splitlines()
    assert len(asked) == len(set(asked)) == 128
    assert lines == ["article_id,suite", *(f"{name},publishing" for name in sorted(asked))]


@pytest.mark.slow
def test_built_mart_keeps_its_promises(tmp_path: Path) -> None:
    """Of the real articles every edited text keeps all rules, and the drafts break what they name."""
    from harness.data.marts import build_mart

    built = build_mart(ROOT, "house_style", Path.home() / ".cache" / "signoff")
    rows: list[dict[str, Any]] = [row for split in ("train", "validation", "test") for row in built.rows(split)]
    held_out = set((MART / "held_out.csv").read_text(encoding="utf-8").split())
    assert len(rows) > 1500
    assert not [row["id"] for row in rows if BROKEN(row["edited"])]
    assert not [row["id"] for row in rows if f"{row['article_id']},publishing" in held_out]
    told = [",".join(sorted(BROKEN(row["draft"]))) == row["rules"] for row in rows]
    assert sum(told) > 0.99 * len(rows)
