"""Keys: everything that can change an answer changes its key."""

from __future__ import annotations

from typing import Any

import pytest

from harness.store import GENERATION_FIELDS, generation_key, score_key

FIELDS: dict[str, Any] = {
    "model": "m",
    "tokenizer_template": "t",
    "adapter": "",
    "engine": "transformers",
    "engine_version": "5.17",
    "dtype": "float32",
    "cpu": "avx2",
    "messages": [["user", "hi"]],
    "decoding": {"max_tokens": 8, "temperature": 0.0},
    "output": {"kind": "text"},
    "seed": 1,
    "repeat": 0,
}
SCORE = {"check": "c", "code_version": "1", "output": "o", "expect": "e", "judge": "j"}


def test_the_fields_are_those_of_the_design() -> None:
    """A key needs exactly the twelve parts that decide a generation."""
    assert set(GENERATION_FIELDS) == set(FIELDS) and len(GENERATION_FIELDS) == 12


@pytest.mark.parametrize("name", GENERATION_FIELDS)
def test_each_part_counts(name: str) -> None:
    """Another value of any one part is another key; leaving it out is a TypeError that names it."""
    assert generation_key(**{**FIELDS, name: "other"}) != generation_key(**FIELDS)
    with pytest.raises(TypeError, match=rf"missing \['{name}'\]"):
        generation_key(**{key: value for key, value in FIELDS.items() if key != name})


def test_order_does_not_count_and_unknown_parts_are_refused() -> None:
    """Parts may come in any order; one that is not known is a TypeError that names it."""
    assert generation_key(**dict(reversed(FIELDS.items()))) == generation_key(**FIELDS)
    with pytest.raises(TypeError, match=r"unknown \['temperature'\]"):
        generation_key(**FIELDS, temperature=0)


@pytest.mark.parametrize("name", SCORE)
def test_each_part_of_a_score_counts(name: str) -> None:
    """Another value of any one part of a score is another key."""
    assert score_key(**{**SCORE, name: "other"}) != score_key(**SCORE)
