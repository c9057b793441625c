"""Gates whose thresholds fit the number of cases: none that could never pass."""

from __future__ import annotations

from typing import Any

from harness.gate import minimum_cases
from harness.spec.gates import Gate

# A level that promises more than this is for people to state, once they know what the app reaches.
_LEVELS = (0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3)
_MARGINS = (0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
FEW = 20
"""Below so many cases a required gate catches only crude damage."""


def level_gate(metric: str, cases: int, *, required: bool, why: str, most: float = 1.0) -> dict[str, Any]:
    """A gate ``at_least`` with the highest threshold up to ``most`` that ``cases`` perfect outputs can show."""
    levels = [level for level in _LEVELS if level <= most and _needed(metric, "at_least", level) <= cases]
    return _entry(f"{metric}-level", metric, "at_least", levels[0] if levels else _LEVELS[-1], required, why)


def paired_gate(metric: str, cases: int, *, required: bool, why: str) -> list[dict[str, Any]]:
    """A gate ``no_worse_than_baseline_by`` with the smallest margin that ``cases`` unchanged outputs can show.

    None where they can show none.
    """
    rule = "no_worse_than_baseline_by"
    margins = [margin for margin in _MARGINS if _needed(metric, rule, margin) <= cases]
    return [_entry(f"{metric}-kept", metric, rule, margin, required, why) for margin in margins[:1]]


def _needed(metric: str, rule: Any, threshold: float) -> int:
    return minimum_cases(Gate(id="fit", metric=metric, rule=rule, threshold=threshold))


def _entry(name: str, metric: str, rule: str, threshold: float, required: bool, why: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": name, "metric": metric, "rule": rule, "threshold": threshold}
    return {**entry, **({} if required else {"required": False}), "why": why}
