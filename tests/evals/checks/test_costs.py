"""Latency and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.evals.checks import Score, Subject, build_check


def _run(name: str, subject: Subject, **settings: Any) -> Score:
    (score,) = build_check(name, settings, suite_dir=Path()).run(subject)
    return score


def test_cached_output_keeps_its_figures() -> None:
    """A cached output gives the original latency and tokens instead of an error or nought."""
    subject = Subject("a", latency_ms=12.5, tokens_in=3, tokens_out=4, cached=True)
    assert _run("latency", subject).value == 12.5
    assert _run("tokens", subject).value == 7


@pytest.mark.parametrize(("count", "value"), [("in", 3), ("out", 4), ("total", 7)])
def test_tokens(count: str, value: int) -> None:
    """Tokens read, written or both, also of an empty output."""
    assert _run("tokens", Subject("", tokens_in=3, tokens_out=4), count=count).value == value


def test_unknown_figures_are_unscored() -> None:
    """A figure that nobody measured is not nought; half of a sum is no sum."""
    assert _run("latency", Subject("a")).value is None
    assert _run("latency", Subject("a", latency_ms=float("nan"))).value is None
    assert _run("latency", Subject("a", latency_ms=-1.0)).value is None
    assert _run("tokens", Subject("a", tokens_in=3)).value is None
    assert _run("tokens", Subject("a", tokens_in=3), count="in").value == 3


def test_units_and_direction() -> None:
    """Gates learn that less is better, without an upper bound."""
    latency, tokens = (build_check(name, {}, suite_dir=Path()) for name in ("latency", "tokens"))
    assert (latency.unit, latency.better, latency.range) == ("ms", "lower", (0.0, None))
    assert (tokens.unit, tokens.better) == ("tokens", "lower")
