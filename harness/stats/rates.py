"""Intervals for one rate: Wilson, Clopper-Pearson, and both for clustered or fractional successes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.distributions import Floats, beta_cdf, beta_quantile, normal_cdf, normal_quantile, t_quantile


def wilson(successes: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score bounds, each one-sided at ``confidence``. Source: Wilson 1927, JASA 22, 209-212."""
    k, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    z = normal_quantile(confidence)
    rate = k / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At the ends of the range the bounds are 0 and 1 exactly, which rounding would miss.
    low, high = np.where(k <= 0, 0.0, centre - half), np.where(k >= n, 1.0, centre + half)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def clopper_pearson(successes: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The exact bounds, each one-sided at ``confidence``. Source: Clopper and Pearson 1934, Biometrika 26, 404-413.

    Successes may be fractional: the beta quantile interpolates.
    """
    k, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    misses = n - k
    low = np.where(k > 0, beta_quantile(1 - confidence, np.maximum(k, 1e-9), misses + 1), 0.0)
    high = np.where(misses > 0, beta_quantile(confidence, k + 1, np.maximum(misses, 1e-9)), 1.0)
    return low, high


def effective_n(rate: float, se: float, df: int, confidence: float) -> float:
    """The number of independent trials that would give a rate this standard error, lowered for few clusters.

    Source: Korn and Graubard 1998, Survey Methodology 24, 193-201.
    """
    shrink = (normal_quantile(confidence) / float(t_quantile(confidence, df))) ** 2
    return rate * (1 - rate) / se**2 * shrink


@dataclass(frozen=True, slots=True)
class _Successes:
    """``successes`` (may be fractional) in ``n`` trials, as a mean of values in [minimum, minimum + scale]."""

    successes: Floats
    n: float
    minimum: float = 0.0
    scale: float = 1.0

    @property
    def estimate(self) -> Floats:
        """The mean in the units of the data."""
        return self._units(self.successes / self.n)

    @property
    def se(self) -> Floats:
        """The Wald error, 0 at the ends of the range: for planning only, the bounds do not use it."""
        return self.scale * _wald(self.successes / self.n, self.n)

    def _units(self, rate: Floats) -> Floats:
        return self.minimum + self.scale * rate


@dataclass(frozen=True, slots=True)
class ScoreRate(_Successes):
    """A mean of values in [minimum, minimum + scale], bounded by Wilson's interval of ``successes`` in ``n``.

    Of all variables in that range with a given mean the two-valued one varies most, so the interval of
    fractional successes is never too narrow.
    """

    method: str = "Wilson score"

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound."""
        return self._units(wilson(self.successes, self.n, confidence)[0])

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""
        return self._units(wilson(self.successes, self.n, confidence)[1])

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the mean is <= bound"."""
        return normal_cdf(-self._score(bound))

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the mean is >= bound"."""
        return normal_cdf(self._score(bound))

    def _score(self, bound: float) -> Floats:
        rate = (bound - self.minimum) / self.scale
        distance = self.successes / self.n - rate
        if rate <= 0 or rate >= 1:
            return np.where(distance == 0, 0.0, np.copysign(np.inf, distance))
        return np.asarray(distance / np.sqrt(rate * (1 - rate) / self.n))


@dataclass(frozen=True, slots=True)
class ExactRate(_Successes):
    """A rate in ``n`` (possibly effective) trials by Clopper-Pearson, in the units of the data."""

    method: str = "Clopper-Pearson"

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound."""
        return self._units(clopper_pearson(self.successes, self.n, confidence)[0])

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""
        return self._units(clopper_pearson(self.successes, self.n, confidence)[1])

    def p_above(self, bound: float) -> Floats:
        """The exact p-value against "the rate is <= bound"."""
        return _at_least(self.successes, self.n, (bound - self.minimum) / self.scale)

    def p_below(self, bound: float) -> Floats:
        """The exact p-value against "the rate is >= bound"."""
        return _at_least(self.n - self.successes, self.n, 1 - (bound - self.minimum) / self.scale)


def _wald(rate: Floats, n: float) -> Floats:
    return np.sqrt(np.clip(rate * (1 - rate), 0.0, None) / n)


def _at_least(successes: Floats, n: float, rate: float) -> Floats:
    """P(X >= successes) of Binomial(n, rate), interpolated between whole numbers."""
    if rate >= 1:
        return np.ones_like(successes)
    k = np.asarray(successes, dtype=float)
    if rate <= 0:
        return np.where(k > 0, 0.0, 1.0)
    return np.where(k > 0, beta_cdf(rate, np.where(k > 0, k, 1.0), n - k + 1), 1.0)
