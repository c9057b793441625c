"""Numbers as text."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report import figures
from tests.report.example_gates import gate


@pytest.mark.parametrize(
    ("number", "unit", "shown"),
    [
        (0.935, "share", "93.5%"), (1.0, "share", "100%"), (0.9999, "share", "100.0%"), (0.0, "share", "0%"),
        (842.4, "ms", "842 ms"), (1490.0, "ms", "1.49 s"), (58.24, "tokens", "58.2 tokens"), (4.3104, "score", "4.31"),
        (None, "share", "–"), (12345.0, "", "12,345"),
    ],
)  # fmt: skip
def test_levels(number: float | None, unit: str, shown: str) -> None:
    """A level carries its unit; only an exact 1 is 100 per cent without decimals."""
    assert shown == figures.value(number, unit)


@pytest.mark.parametrize(
    ("number", "unit", "shown"),
    [(-0.052, "share", "−5.2 pts"), (0.004, "share", "+0.4 pts"), (-0.0001, "share", "0.0 pts"), (12.0, "ms", "+12 ms"),
     (0.0, "ms", "0 ms"), (None, "ms", "–")],
)  # fmt: skip
def test_differences(number: float | None, unit: str, shown: str) -> None:
    """A difference carries its sign, and none when it rounds to nothing."""
    assert shown == figures.difference(number, unit)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "≥ −2.0 pts"),
        ({"better": "lower"}, "≤ +2.0 pts"),
        ({"rule": "better_than_baseline_by"}, "≥ +2.0 pts"),
        ({"rule": "better_than_baseline_by", "better": "lower"}, "≤ −2.0 pts"),
        ({"rule": "at_least", "threshold": 0.9}, "≥ 90.0%"),
        ({"rule": "at_most", "threshold": 0.05}, "≤ 5.0%"),
    ],
)
def test_bounds(more: dict[str, Any], shown: str) -> None:
    """A gate's line is said on the scale of its estimate, with the side that passes."""
    assert shown == figures.bound(gate(**more), "share")


def test_interval_says_the_unit_once() -> None:
    """The interval leaves out a unit that the estimate has said, and shows an open end as infinite."""
    assert figures.interval(gate(), "share") == "[−1.1, +1.9]"
    assert figures.interval(gate(high=None), "share") == "[−1.1, ∞]"
    assert figures.interval(gate(low=None, high=None), "share") == ""


def test_durations() -> None:
    """A duration is said in its largest two units."""
    assert [figures.seconds(x) for x in (4.2, 192.4, 3840.0, None)] == ["4.2 s", "3 min 12 s", "1 h 04 min", "–"]
