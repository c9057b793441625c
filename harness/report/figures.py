"""Numbers as a reader wants them: shares in per cent, their differences in points, milliseconds, plain scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from harness.gate.wording import LOG_SECONDS

PAIRED = ("no_worse_than_baseline_by", "better_than_baseline_by")
NONE = "–"


def value(number: float | None, unit: str) -> str:
    """A level in its unit; a dash for None."""
    if number is None:
        return NONE
    if unit == "share":
        # All and none are exact; a rounded 100.0% is not.
        return f"{number * 100:.0f}%" if number in (0, 1) else f"{_fixed(number * 100, 1)}%"
    if unit == LOG_SECONDS:
        return _scaled(1000 * math.exp(number), "ms")
    return _scaled(number, unit)


def difference(number: float | None, unit: str) -> str:
    """A signed difference in its unit; of shares in percentage points."""
    if number is None:
        return NONE
    if unit == LOG_SECONDS:
        text = f"{_fixed(100 * math.expm1(number), 1)}%"
    else:
        text = f"{_fixed(number * 100, 1)} pts" if unit == "share" else _scaled(number, unit)
    return text if number <= 0 or text.startswith("+") else f"+{text}"


def seconds(number: float | None) -> str:
    """A duration: ``4.2 s``, ``3 min 12 s``, ``1 h 04 min``."""
    if number is None:
        return NONE
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: Any) -> str:
    """An integer with thousands separated; a dash for anything else."""
    return f"{number:,}" if isinstance(number, int) and not isinstance(number, bool) else NONE


def plural(number: int, noun: str, many: str = "") -> str:
    """``1 case``, ``2 cases``, ``1,200 cases``."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def digest(text: Any, length: int = 12) -> str:
    """The part of a digest that people compare by eye."""
    bare = str(text or "").removeprefix("sha256:")
    return bare[:length] if bare else "none"


def moment(text: Any) -> str:
    """An ISO 8601 moment to the minute; anything else unchanged."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text or "")
    return at.strftime("%Y-%m-%d %H:%M") + (f" {at.tzname()}" if at.tzinfo else "")


def is_paired(gate: Mapping[str, Any]) -> bool:
    """Whether the gate's estimate is a difference of candidate and baseline."""
    return gate.get("rule") in PAIRED


def estimate(gate: Mapping[str, Any], number: float | None, unit: str) -> str:
    """A number on the gate's own scale: a difference for paired rules, a level otherwise."""
    return difference(number, unit) if is_paired(gate) else value(number, unit)


def limit(gate: Mapping[str, Any]) -> float:
    """Where the gate's line lies on the scale of its estimate."""
    threshold = float(gate.get("threshold") or 0.0)
    rule, lower = gate.get("rule"), gate.get("better") == "lower"
    if rule == "no_worse_than_baseline_by":
        return threshold if lower else -threshold
    if rule == "better_than_baseline_by":
        return -threshold if lower else threshold
    return threshold


def passes_above(gate: Mapping[str, Any]) -> bool:
    """Whether larger estimates pass."""
    rule = gate.get("rule")
    return gate.get("better") != "lower" if rule in PAIRED else rule != "at_most"


def bound(gate: Mapping[str, Any], unit: str) -> str:
    """The gate's line in words of its scale, such as ``≥ −2.0 pts``."""
    return f"{'≥' if passes_above(gate) else '≤'} {estimate(gate, limit(gate), unit)}"


def interval(gate: Mapping[str, Any], unit: str) -> str:
    """``[low, high]`` on the gate's scale, or nothing where it has none; an open end is an infinity.

    The unit is left out where the estimate beside it already says it.
    """
    low, high = gate.get("low"), gate.get("high")
    if low is None and high is None:
        return ""
    ends = ["−∞" if low is None else estimate(gate, low, unit), "∞" if high is None else estimate(gate, high, unit)]
    _, space, said = estimate(gate, gate.get("estimate"), unit).partition(" ")
    if space and all(end.endswith(f" {said}") or end in ("−∞", "∞") for end in ends):
        ends = [end.removesuffix(f" {said}") for end in ends]
    return f"[{', '.join(ends)}]"


def _scaled(number: float, unit: str) -> str:
    if unit == "ms":
        return f"{_fixed(number / 1000, 2)} s" if abs(number) >= 1000 else f"{_fixed(number, 0)} ms"
    small = 3 if abs(number) < 1 else 2
    plain = _fixed(number, 0) if abs(number) >= 100 else _fixed(number, small if unit in ("", "score") else 1)
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return f"{plain} {unit}" if unit not in ("", "score", "share") else plain


def _fixed(number: float, places: int) -> str:
    text = f"{number:,.{places}f}"
    # A difference that rounds to nothing has no sign.
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")
