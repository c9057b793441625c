"""Folding: what reads the same is the same, and every place leads back to the original."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.folding import fold


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("４１１１", "4111"), ("٤١١", "411"), ("①②", "12"),
        ("4\u200b1\u00ad1", "411"), ("4\ufe0f\u20e31\ufe0f\u20e3", "41"),
        ("ORD\u20114", "ORD-4"), ("a\u00a0b\u2009c", "a b c"), ("dаnа", "dana"),
        ("ｄａｎａ＠ｘ．ｄｅ", "dana@x.de"),
        ("Étienne", "Etienne"), ("E\u0301", "E"), ("Straße", "Strasse"), ("Łódź", "Lodz"), ("x\u3164y", "xy"),
        ("a\x00b", "ab"),
        ("“q” ‘q’", "\"q\" 'q'"), ("192。0。2。1", "192.0.2.1"), ("a\u2028b", "a\nb"), ("𝐃𝐚𝐧𝐚", "Dana"),
    ],
)  # fmt: skip
def test_spellings(written: str, read: str) -> None:
    """Every way to write a letter, a digit, a dash or a space is read as one."""
    assert fold(written).text == read


@given(st.text())
def test_places_lead_back(text: str) -> None:
    """Each folded character comes from one place, in order, and the whole from the whole but for a hidden beginning."""
    folded = fold(text)
    spans = [folded.original(i, i + 1) for i in range(len(folded.text))]
    assert all(start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    if spans:
        assert folded.original(0, len(folded.text)) == (spans[0][0], len(text))


def test_what_is_hidden_in_a_span_belongs_to_it() -> None:
    """Zero-width characters inside and directly after a piece are part of its span."""
    text = "a d\u200bana\u200b b"
    start, end = fold(text).original(2, 6)
    assert text[start:end] == "d\u200bana\u200b"
