"""Intervals against thresholds on one line: every gate's threshold at the same place, the passing side to the right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

from harness.report.figures import is_paired, limit, passes_above

WIDTH = 240.0
EDGE = 9.0

Family: TypeAlias = tuple[bool, str, str]


@dataclass(frozen=True, slots=True)
class Whisker:
    """Positions in SVG units on a line of WIDTH; None where there is nothing to draw.

    ``open_left`` and ``open_right`` say that the interval goes on beyond the edge; ``zero`` is *no change*.
    """

    dot: float | None
    left: float | None
    right: float | None
    zero: float | None
    open_left: bool = False
    open_right: bool = False


def whiskers(gates: list[Mapping[str, Any]], units: list[str]) -> list[Whisker]:
    """One whisker per gate. Gates of one kind and unit share a scale, so their widths may be compared."""
    lines = [_Line.of(gate, unit) for gate, unit in zip(gates, units, strict=True)]
    reaches: dict[Family, list[float]] = defaultdict(list)
    for line in lines:
        reaches[line.family].append(line.reach)
    scales = {family: _scale(found) for family, found in reaches.items()}
    return [line.draw(scales[line.family]) for line in lines]


def _scale(reaches: list[float]) -> float:
    """Half the width of the axis: the widest interval, unless it would press all others flat."""
    known = [reach for reach in reaches if reach > 0]
    return min(max(known), 3 * median(known)) * 1.12 if known else 1.0


@dataclass(frozen=True, slots=True)
class _Line:
    """A gate's numbers as distances from its threshold, positive on the passing side."""

    family: Family
    dot: float | None
    low: float | None
    high: float | None
    zero: float | None

    @classmethod
    def of(cls, gate: Mapping[str, Any], unit: str) -> _Line:
        line, sign, paired = limit(gate), 1.0 if passes_above(gate) else -1.0, is_paired(gate)
        # Levels of time or counts have no common scale but their ratio to the threshold.
        ratio = abs(line) if unit != "share" and not paired and line else 1.0

        def off(number: float | None) -> float | None:
            return None if number is None else sign * (float(number) - line) / ratio

        low, high = off(gate.get("low")), off(gate.get("high"))
        if sign < 0:
            low, high = high, low
        family = (paired, unit, "" if unit == "share" or not paired else str(gate.get("metric")))
        return cls(family, off(gate.get("estimate")), low, high, off(0.0) if paired else None)

    @property
    def reach(self) -> float:
        return max((abs(x) for x in (self.dot, self.low, self.high, self.zero) if x is not None), default=0.0)

    def draw(self, scale: float) -> Whisker:
        def at(distance: float | None) -> float | None:
            if distance is None:
                return None
            x = WIDTH / 2 * (1 + distance / scale)
            return round(min(max(x, EDGE), WIDTH - EDGE), 1)

        bounded = self.low is not None or self.high is not None
        left = at(self.low) if self.low is not None else (EDGE if bounded else None)
        right = at(self.high) if self.high is not None else (WIDTH - EDGE if bounded else None)
        inside = 1 - 2 * EDGE / WIDTH
        return Whisker(
            dot=at(self.dot),
            left=left,
            right=right,
            zero=at(self.zero),
            open_left=bounded and (self.low is None or self.low < -scale * inside),
            open_right=bounded and (self.high is None or self.high > scale * inside),
        )
