"""The house rules for wording, and the code that breaks them on purpose for the messy cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.functions import load_function

HERE = Path(__file__).parent
BROKEN: Callable[[str], tuple[str, ...]] = load_function(HERE, "rules.py:broken")
REPAIRED: Callable[[str], str] = load_function(HERE, "rules.py:repaired")
HOUSE_RULES: Callable[[Any], float] = load_function(HERE, "rules.py:house_rules")
EDITED_EXACTLY: Callable[[Any], bool] = load_function(HERE, "rules.py:edited_exactly")
MESSY: Callable[[str, str], str] = load_function(HERE, "messy.py:messy")

CLEAN = [
    "Mr Hall said three of the bridges will close on 4 May, which costs £12,000.",
    'The UK organisation said that about 40 per cent of its members were women and that "nobody is left out".',
    "The centre, which is run by Dr Price, has had to turn five families away since 12 June.",
    "The EU wants £5m for two programmes, and the US has cancelled its defence talks with Ms Reed.",
    "He travelled 15,000 miles with four colleagues, and the theatre honoured him in the colours of the club.",
    "Prof Lang told BBC Radio 4 that boys aged 7 won 3-2 at 10:45 in Year 7 of the World Trade Center's league.",
]


@pytest.mark.parametrize(
    ("rule", "draft", "edited"),
    [
        ("spacing", "The mayor , who left , is back .", "The mayor, who left, is back."),
        ("quotes", "“It’s over,” she said.", '"It\'s over," she said.'),
        ("exclamation", "The bridge is open!", "The bridge is open."),
        ("per_cent", "It rose by 5% and then by 3.5 percent.", "It rose by 5 per cent and then by 3.5 per cent."),
        ("ampersand", "Bread & butter", "Bread and butter"),
        ("dates", "It opens on May 4th and shuts on 1st of June.", "It opens on 4 May and shuts on 1 June."),
        ("small_numbers", "He has won 4 times in 16 years.", "He has won four times in 16 years."),
        ("doubled", "It was in the the old town.", "It was in the old town."),
        ("titles", "Mr. Hall met Dr. Price.", "Mr Hall met Dr Price."),
        ("abbreviations", "The U.S. army left the U.K.", "The US army left the UK."),
        ("pounds", "It cost 500 pounds, then GBP 3m.", "It cost £500, then £3m."),
        ("thousands", "He sold 28000 copies in 2015.", "He sold 28,000 copies in 2015."),
        ("shouting", "It was NEVER about NATO or the WHO.", "It was never about NATO or the WHO."),
        ("spelling", "The labor organization", "The labour organisation"),
    ],
)
def test_rule_is_named_and_repaired(rule: str, draft: str, edited: str) -> None:
    """A text that breaks one rule breaks no other, and is repaired by changing nothing else."""
    assert BROKEN(draft) == (rule,)
    assert REPAIRED(draft) == edited
    assert BROKEN(edited) == ()


@pytest.mark.parametrize("text", CLEAN)
def test_clean_text_breaks_no_rule(text: str) -> None:
    """Dates, sums, scores, ages, names and abbreviations in house style stay as they are."""
    assert BROKEN(text) == ()
    assert REPAIRED(text) == text


@given(texts=st.lists(st.sampled_from(CLEAN), min_size=1, max_size=4), case=st.text(max_size=12))
def test_messy_text_is_repaired_to_what_it_was(texts: list[str], case: str) -> None:
    """What the code for the messy cases breaks, the rules find and repair; the same case is broken in the same way."""
    clean = " ".join(texts)
    draft = MESSY(clean, case)
    assert MESSY(clean, case) == draft
    assert REPAIRED(draft) == clean
    assert (draft == clean) == (BROKEN(draft) == ())


@given(st.text(alphabet="aA .,!%&\"'“5£U.S0\n", max_size=60))
def test_any_text_can_be_repaired(text: str) -> None:
    """Whatever is written, no mark that the house does not print is left, and repairing again finds no such mark."""
    once = REPAIRED(text)
    assert not set("!“\n") & set(once) and " & " not in once
    assert not {"exclamation", "quotes", "ampersand"} & set(BROKEN(once))


@pytest.mark.parametrize(
    ("edited", "kept", "exactly"),
    [
        ("Mr Hall said three of the bridges will close on 4 May.", 1.0, True),
        ("Mr Hall said 3 of the bridges will close on 4 May!", 1 / 3, False),
        ("Mr. Hall said 3 of the bridges will close on 4 May!", 0.0, False),
        ("Mr Hall said three of the the bridges will close on 4 May.", 0.75, False),
        ("The mayor opened a new library.", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_edit_is_scored_by_the_rules_at_stake(edited: str, kept: float, exactly: bool) -> None:
    """Repaired rules count, newly broken ones count against, and another text keeps no rule."""
    draft = "Mr. Hall said 3 of the bridges will close on 4 May!"
    subject = SimpleNamespace(steps={"draft": draft}, output=edited)
    assert HOUSE_RULES(subject) == pytest.approx(kept)
    assert EDITED_EXACTLY(subject) is exactly
