"""What a check sees and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Subject:
    """One output under a check.

    ``output`` is the text of the step or app, ``parsed`` its JSON value where it has one (a plain text step may
    give the text itself), ``expect`` what the case expects, None when it expects nothing. ``latency_ms``,
    ``tokens_in`` and ``tokens_out`` are those of the original call, also when ``cached``. ``steps`` maps each
    step's id to its value.
    """

    output: str
    parsed: Any = None
    expect: Any = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: bool = False
    steps: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """A value, or None with the reason why there is none.

    ``metric`` names a part of a check that gives several values; ``unit`` is empty for the check's own unit.
    """

    value: float | None
    reason: str = ""
    metric: str = ""
    unit: str = ""


Run = Callable[[Subject], "Score | list[Score]"]

PASSED = Score(1.0)


class Unscored(Exception):  # noqa: N818 - it reports no error of the app, only that there is no answer
    """Raised inside a check that cannot tell; becomes a score without a value."""


def verdict(passed: bool, reason: str) -> Score:
    """1 when ``passed``, else 0 with ``reason``."""
    return PASSED if passed else Score(0.0, reason)


def printable(reason: object, limit: int = 500) -> str:
    """A reason that can be written to any file: cut, and lone surrogates escaped."""
    return str(reason)[:limit].encode("utf-8", "backslashreplace").decode()


def shown(value: Any, limit: int = 80) -> str:
    """``value`` for a reason: quoted, on one line, cut."""
    # Cutting before repr keeps a reason about a 100 KB output cheap.
    text = repr(value[: limit + 1] if isinstance(value, str) else value)
    return text if len(text) <= limit + 2 else f"{text[:limit]}…"
