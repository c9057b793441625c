"""Two hundred messages with planted identifiers, a hundred harmless ones, and what the documentation says is missed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.data.anonymiser import Anonymiser
from harness.data.recognisers import ENTITIES
from tests.data import Message, harmless, planted, survivors

MESSAGES = planted()
_PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


def test_the_messages_are_what_they_claim() -> None:
    """At least 200 different messages and 450 identifiers that stand in them; one message in three has several."""
    assert len({message.text for message in MESSAGES}) >= 200
    assert sum(len(message.planted) for message in MESSAGES) >= 450
    assert sum(len(message.planted) > 1 for message in MESSAGES) > len(MESSAGES) / 3
    assert all(identifier in message.text for message in MESSAGES for identifier in message.planted)


def test_the_check_sees_what_is_left() -> None:
    """An identifier counts as left when it is spaced, folded, in capitals, or named by one of its names only."""
    assert survivors("call 0 171-555 0199", ["0171 5550199"])
    assert survivors("DANA@EXAMPLE.COM", ["dana@example.com"])
    assert survivors("Dear Reyes,", ["Dana Reyes"])
    assert not survivors("call <PHONE_1>, <PERSON_1>", ["0171 5550199", "Dana Reyes"])


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: re.sub(r"\W+", "-", message.text[:30]))
def test_no_planted_identifier_survives(anonymiser: Anonymiser, message: Message) -> None:
    """No planted string is left, in any of its spellings, and anonymising again changes nothing more."""
    done = anonymiser.anonymise(message.text).text
    assert survivors(done, message.planted) == []
    assert anonymiser.anonymise(done).text == done


def test_every_kind_is_planted(anonymiser: Anonymiser) -> None:
    """The messages hold every kind of identifier that the anonymiser knows."""
    found = {f.entity for message in MESSAGES for f in anonymiser.anonymise(message.text).found}
    assert found == set(ENTITIES)


def test_ordinary_order_talk_stays(anonymiser: Anonymiser) -> None:
    """At most one harmless sentence in twenty is altered (measured: none of a hundred)."""
    altered = [text for text in harmless() if anonymiser.anonymise(text).text != text]
    assert len(harmless()) == 100
    assert len(altered) <= 5, altered


def _documented_misses() -> list[str]:
    section = re.search(r"^## What it does not find$(.*?)^## ", _PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert section
    return re.findall(r"`([^`]+)`", section.group(1))


@pytest.mark.parametrize("example", _documented_misses())
def test_documented_misses_are_real(anonymiser: Anonymiser, example: str) -> None:
    """Each example under 'What it does not find' is really left alone: the page is no older than the rules."""
    assert anonymiser.anonymise(example).text == example


@pytest.mark.parametrize("entity", sorted(ENTITIES))
def test_every_kind_is_documented(entity: str) -> None:
    """The page names each kind with the words of the code."""
    assert f"| `{entity}` | {ENTITIES[entity]} |" in _PAGE.read_text(encoding="utf-8")
