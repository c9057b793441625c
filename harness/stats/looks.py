"""Alpha spending: how much error probability each of a few planned looks at growing data may use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

MOST_LOOKS = 3


@dataclass(frozen=True, slots=True)
class Looks:
    """``planned`` looks (1 to 3) at equal steps of information, and the spending function.

    Each look tests at the *increment* of the spending function. By the union bound the whole sequence errs at
    most with the full alpha, whatever the correlation between the looks: no assumption on how much information
    a further repeat adds, at the price of a little power. ``pocock`` spends early (most runs end at the first
    look), ``obrien_fleming`` late. Source: Lan and DeMets 1983, Biometrika 70, 659-663.
    """

    planned: int = 1
    spending: Literal["pocock", "obrien_fleming"] = "pocock"

    def __post_init__(self) -> None:
        if not 1 <= self.planned <= MOST_LOOKS:
            raise ValueError(f"looks planned: {self.planned}; from 1 to {MOST_LOOKS} are possible")

    def spent(self, alpha: float, look: int) -> float:
        """The part of ``alpha`` that look number ``look`` (from 1) may use; the parts sum to ``alpha``."""
        if not 1 <= look <= self.planned:
            raise ValueError(f"look {look} of {self.planned} planned")
        return self._cumulative(alpha, look / self.planned) - self._cumulative(alpha, (look - 1) / self.planned)

    def confidence(self, confidence: float, look: int) -> float:
        """The one-sided confidence to use at ``look`` so that the sequence keeps ``confidence``."""
        return 1 - self.spent(1 - confidence, look)

    def _cumulative(self, alpha: float, fraction: float) -> float:
        if fraction <= 0 or fraction >= 1:
            return alpha if fraction >= 1 else 0.0
        if self.spending == "pocock":
            return alpha * math.log(1 + (math.e - 1) * fraction)
        normal = NormalDist()
        return 2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / math.sqrt(fraction))
