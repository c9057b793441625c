"""Measurement rows written and read back, hostile text included."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SignoffError
from harness.spec.measurement import Measurement, dump_line, encode, read_measurements, write_measurements


def row(**more: object) -> Measurement:
    return Measurement("regression", "desk", "candidate", "case-1", "right", "right", 1.0, **more)  # type: ignore[arg-type]


def test_a_row_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives the file, slices as a tuple."""
    rows = [row(slices=("a", "b"), group="g", reason="ü"), row(repeat=2, cached=True, app_digest="0" * 64)]
    assert write_measurements(tmp_path / "rows.jsonl", rows) == 2
    assert list(read_measurements(tmp_path / "rows.jsonl")) == rows


@pytest.mark.parametrize("line", ["null", "[1]", '"text"', '{"app": "desk"}', '{"stage', '{"unknown": 1}'])
def test_a_line_of_another_shape_is_named(tmp_path: Path, line: str) -> None:
    """What is no measurement row raises an error that says in which line it stands."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encode(row()) + line.encode() + b"\n")
    with pytest.raises(SignoffError, match=r"rows\.jsonl:2"):
        list(read_measurements(path))


def test_half_a_character_in_a_reason_becomes_the_replacement_sign() -> None:
    """UTF-8 cannot hold a lone surrogate, so a row shows U+FFFD in its place and keeps the rest."""
    assert orjson.loads(encode(row(reason="a\ud800b")))["reason"] == "a\ufffdb"


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
def test_any_text_makes_one_line_that_reads_back(text: str) -> None:
    """Whatever a model wrote, as key or value and however deep, the line is one line of JSON."""
    line = dump_line({"steps": {text: [text, (text,)]}}, default=str)
    assert line.count(b"\n") == 1
    (found,) = orjson.loads(line)["steps"].values()
    whole = not any("\ud800" <= character <= "\udfff" for character in text)
    assert found[0] == text if whole else not any("\ud800" <= character <= "\udfff" for character in found[0])


def test_a_value_that_json_does_not_know_is_refused() -> None:
    """A measurement holds plain numbers; anything else is a mistake of the harness, not text for the file."""
    with pytest.raises(TypeError):
        encode(row(reason=object()))
