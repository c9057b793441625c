"""What a step may hand on, and what becomes an error of the case instead of an end of the run."""

from __future__ import annotations

import pytest

from harness.serve.steps.callers import StepError
from harness.serve.steps.chain import text_of


def test_text_stands_for_itself_and_values_become_json() -> None:
    """A text is not quoted; lists and mappings are written as JSON."""
    assert text_of("a b") == "a b"
    assert text_of({"a": [1, None]}) == '{"a":[1,null]}'


@pytest.mark.parametrize("value", [{1: "a"}, ["\ud800"], [2**70]])
def test_a_value_that_json_cannot_hold_is_an_error_of_its_step(value: object) -> None:
    """Keys that are no text, half a character and numbers beyond 64 bits are named instead of ending the run."""
    with pytest.raises(StepError, match="cannot be written as JSON"):
        text_of(value)
