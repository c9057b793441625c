"""Quality against latency as a drawing: every candidate with its interval, and those that none beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.report import figures

WIDTH, HEIGHT = 760.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 76.0, 24.0, 60.0, 46.0
_GAP, _LINE = 7.0, 14.0
_WIDE = 8.0
"""Latencies that differ by more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate in the drawing; its interval ends at ``low`` and ``high``, its number stands at ``label``."""

    number: int
    id: str
    x: float
    y: float
    low: float
    high: float
    frontier: bool
    told: str
    label: float = 0.0


@dataclass(frozen=True, slots=True)
class Plot:
    """The drawing in SVG units; ticks are (place, label)."""

    points: tuple[Point, ...]
    frontier: str
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    logarithmic: bool
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def plot(records: Sequence[Mapping[str, Any]], unit: str) -> Plot | None:
    """The drawing of ``candidates`` of ``models.json``, numbered in their order; None when nothing was timed."""
    drawn = [
        (number, record)
        for number, record in enumerate(records, start=1)
        if record["latency"] and record["quality"]["estimate"] is not None
    ]
    if not drawn:
        return None
    times = [record["latency"]["median_ms"] for _, record in drawn]
    log = max(times) > _WIDE * min(times) > 0
    reach = _reach([math.log10(t) if log else t for t in times])
    span = _reach([end for _, record in drawn for end in _ends(record["quality"])])
    points = _labelled([_point(number, record, unit, (reach, span, log)) for number, record in drawn])
    best = sorted((point for point in points if point.frontier), key=lambda point: point.x)
    return Plot(
        points=points,
        frontier=" ".join(f"{point.x:g},{point.y:g}" for point in best),
        across=tuple((_across(tick, reach), _time(10**tick if log else tick)) for tick in _ticks(*reach)),
        up=tuple((_up(tick, span), figures.value(tick, unit)) for tick in _ticks(*span)),
        logarithmic=log,
    )


_Range = tuple[float, float]


def _point(number: int, record: Mapping[str, Any], unit: str, scales: tuple[_Range, _Range, bool]) -> Point:
    reach, span, log = scales
    quality, median = record["quality"], record["latency"]["median_ms"]
    low, high = _ends(quality)
    told = f"{record['id']}: {figures.value(quality['estimate'], unit)}, {_time(median)}"
    x = _across(math.log10(median) if log else median, reach)
    y, bottom, top = (_up(each, span) for each in (quality["estimate"], low, high))
    return Point(number, record["id"], x, y, bottom, top, record["frontier"], told)


def _labelled(points: Sequence[Point]) -> tuple[Point, ...]:
    """Each number above its interval, and above every number that stands there already."""
    placed: list[Point] = []
    for point in points:
        label = point.high - _GAP
        near = [each.label for each in placed if abs(each.x - point.x) < _LINE]
        while any(abs(label - other) < _LINE for other in near):
            label -= _LINE
        placed.append(replace(point, label=round(label, 1)))
    return tuple(placed)


def _ends(quality: Mapping[str, Any]) -> _Range:
    """The interval, without an end that is infinite."""
    estimate = quality["estimate"]
    low = estimate if quality["low"] is None else quality["low"]
    high = estimate if quality["high"] is None else quality["high"]
    return low, high


def _reach(values: Sequence[float]) -> _Range:
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 0.5
    return low - pad, high + pad


def _across(value: float, reach: _Range) -> float:
    return round(LEFT + (value - reach[0]) / (reach[1] - reach[0]) * (WIDTH - LEFT - RIGHT), 1)


def _up(value: float, span: _Range) -> float:
    return round(HEIGHT - BOTTOM - (value - span[0]) / (span[1] - span[0]) * (HEIGHT - TOP - BOTTOM), 1)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers between the ends."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 10) for index in range(first, math.floor(high / step) + 1)]


def _time(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.3g} s"
