"""The t interval of a mean, plain or with Hall's correction for skewed data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.clusters import Moments
from harness.stats.distributions import Floats, t_cdf, t_quantile

NARROWING, WIDENING = 1.5, 0.5
"""Standard errors taken from the size of the estimated skewness before it narrows a bound, added before it widens."""


@dataclass(frozen=True, slots=True)
class StudentT:
    """Mean +- t * standard error; ``corrected`` removes the first-order effect of skewness on t.

    A change that breaks few cases outright gives differences with a long left tail. The t statistic is then
    skewed to the right, and the plain lower bound is too high: at n = 200 a drop equal to the margin passed
    6 % instead of 5 %. Hall's monotone cubic transformation g(T) = ((1 + aT/3)^3 - 1)/a + a/6, with
    a = skewness / sqrt(n), is normal to the next order and has a closed inverse.
    Source: Hall 1992, "On the removal of skewness by transformation", J. R. Statist. Soc. B 54, 221-228.

    The skewness is itself estimated, and in the far tail that Holm's correction uses its noise would reject too
    often. So each bound is the wider, each p-value the larger, of two: with the skewness NARROWING of its standard
    errors nearer to 0, and WIDENING of them farther away. A narrowing counts only where it is sure. Both constants
    were set by simulation (benchmarks/gate_simulation.py): a drop of the margin passes 5.0 %, and a bound at
    confidence 0.99833 (0.02 over 12 gates) is wrong in 0.0016, where Hall's correction alone gave 0.0020 to 0.0043.
    """

    moments: Moments
    corrected: bool = True

    @property
    def estimate(self) -> Floats:
        """The mean over units."""
        return self.moments.mean

    @property
    def se(self) -> Floats:
        """The cluster-robust standard error."""
        return self.moments.se

    @property
    def method(self) -> str:
        """The method's name."""
        return "clustered t, skewness-corrected" if self.corrected else "clustered t"

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound."""
        critical = t_quantile(confidence, self.moments.df)
        return self.moments.mean - self.moments.se * np.maximum(*(_inverse(critical, a) for a in self._skews()))

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""
        critical = t_quantile(1 - confidence, self.moments.df)
        return self.moments.mean - self.moments.se * np.minimum(*(_inverse(critical, a) for a in self._skews()))

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the mean is <= bound"."""
        t = self._statistic(bound)
        return np.maximum(*(t_cdf(-_transform(t, a), self.moments.df) for a in self._skews()))

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the mean is >= bound"."""
        t = self._statistic(bound)
        return np.maximum(*(t_cdf(_transform(t, a), self.moments.df) for a in self._skews()))

    def _statistic(self, bound: float) -> Floats:
        distance = self.moments.mean - bound
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(distance == 0, 0.0, distance / self.moments.se)

    def _skews(self) -> tuple[Floats, Floats]:
        skew = self.moments.skew if self.corrected else np.zeros_like(self.moments.skew)
        noise = self.moments.skew_noise if self.corrected else skew
        size = np.abs(skew)
        # At most doubled, so that the correction of symmetric data stays 0.
        wide = size + np.minimum(WIDENING * noise, size)
        narrow = np.maximum(0.0, size - NARROWING * noise)
        return np.sign(skew) * wide, np.sign(skew) * narrow


def _straight(skew: Floats) -> NDArray[np.bool_]:
    # Below 1e-6 the correction is far under the rounding of any report, and 1/a would lose digits.
    return np.asarray(np.abs(skew) < 1e-6)


def _transform(t: Floats, skew: Floats) -> Floats:
    a = np.where(_straight(skew), 1.0, skew)
    with np.errstate(invalid="ignore"):
        curved = ((1 + a * t / 3) ** 3 - 1) / a + a / 6
    return np.where(_straight(skew) | ~np.isfinite(t), t, curved)


def _inverse(g: Floats, skew: Floats) -> Floats:
    a = np.where(_straight(skew), 1.0, skew)
    return np.where(_straight(skew), g, 3 * (np.cbrt(1 + a * (g - a / 6)) - 1) / a)
