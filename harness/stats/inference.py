"""What every estimate can be asked: one-sided bounds at any confidence, and p-values against any bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.stats.distributions import Floats


class Inference(Protocol):
    """An estimate with its uncertainty; every array has the batch shape of the data (0-d for one sample).

    ``low`` and ``high`` are each a *one-sided* bound: the truth lies above ``low(0.95)`` in 95 % of samples, and
    below ``high(0.95)`` in 95 %; between both in 90 %.
    """

    @property
    def estimate(self) -> Floats:
        """The point estimate, in the units of the data."""

    @property
    def se(self) -> Floats:
        """Its standard error, in the units of the data (0 when nothing varied: use the bounds)."""

    @property
    def method(self) -> str:
        """The method's name, for reports."""

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound."""

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the truth is <= bound": small means that it lies above."""

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the truth is >= bound": small means that it lies below."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No inference is possible (too few clusters, an unbounded imputation): bounds are infinite, p-values 1."""

    estimate: Floats
    method: str = "none"

    @property
    def se(self) -> Floats:
        """Infinite."""
        return np.full_like(self.estimate, np.inf)

    def low(self, confidence: float) -> Floats:
        """Minus infinity at any ``confidence``."""
        return np.full_like(self.estimate, -np.inf)

    def high(self, confidence: float) -> Floats:
        """Infinity at any ``confidence``."""
        return np.full_like(self.estimate, np.inf)

    def p_above(self, bound: float) -> Floats:
        """One for any ``bound``."""
        return np.ones_like(self.estimate)

    def p_below(self, bound: float) -> Floats:
        """One for any ``bound``."""
        return np.ones_like(self.estimate)


@dataclass(frozen=True, slots=True)
class Guarded:
    """``main`` widened to its union with ``guard`` where ``weak`` is true: wider bounds, larger p-values.

    The union of two intervals covers at least as often as either, so a guard can only make a verdict more careful.
    """

    main: Inference
    guard: Inference
    weak: NDArray[np.bool_]

    @property
    def estimate(self) -> Floats:
        """The estimate of ``main``."""
        return self.main.estimate

    @property
    def se(self) -> Floats:
        """The standard error of ``main``: small, perhaps 0, where the guard speaks; there only the bounds count."""
        return self.main.se

    @property
    def method(self) -> str:
        """Both names where the guard speaks."""
        return f"{self.main.method} + {self.guard.method}" if bool(np.any(self.weak)) else self.main.method

    def low(self, confidence: float) -> Floats:
        """The lower of both lower bounds where the guard speaks."""
        main = self.main.low(confidence)
        return np.where(self.weak, np.minimum(main, self.guard.low(confidence)), main)

    def high(self, confidence: float) -> Floats:
        """The higher of both upper bounds where the guard speaks."""
        main = self.main.high(confidence)
        return np.where(self.weak, np.maximum(main, self.guard.high(confidence)), main)

    def p_above(self, bound: float) -> Floats:
        """The larger of both p-values where the guard speaks."""
        main = self.main.p_above(bound)
        return np.where(self.weak, np.maximum(main, self.guard.p_above(bound)), main)

    def p_below(self, bound: float) -> Floats:
        """The larger of both p-values where the guard speaks."""
        main = self.main.p_below(bound)
        return np.where(self.weak, np.maximum(main, self.guard.p_below(bound)), main)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The inference for minus the quantity of ``of``: where lower is better, it reads as if higher were."""

    of: Inference

    @property
    def estimate(self) -> Floats:
        """Minus the estimate."""
        return -self.of.estimate

    @property
    def se(self) -> Floats:
        """The same standard error."""
        return self.of.se

    @property
    def method(self) -> str:
        """The same method."""
        return self.of.method

    def low(self, confidence: float) -> Floats:
        """Minus the upper bound."""
        return -self.of.high(confidence)

    def high(self, confidence: float) -> Floats:
        """Minus the lower bound."""
        return -self.of.low(confidence)

    def p_above(self, bound: float) -> Floats:
        """The p-value against "minus the quantity is <= bound"."""
        return self.of.p_below(-bound)

    def p_below(self, bound: float) -> Floats:
        """The p-value against "minus the quantity is >= bound"."""
        return self.of.p_above(-bound)
