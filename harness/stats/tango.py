"""Tango's score interval for the difference of two paired rates, and the exact McNemar test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.distributions import Floats, beta_cdf, normal_cdf, normal_quantile


def tango_score(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, difference: ArrayLike) -> Floats:
    """Tango's score statistic for a true ``difference`` of the rates, elementwise.

    ``gained`` and ``lost`` are the discordant pairs (candidate only right, baseline only right) of ``n``; they may
    be fractional. Falls in ``difference``. Source: Tango 1998, Statistics in Medicine 17, 891-908, equation 8.
    """
    b, c, n, delta = (np.asarray(x, dtype=float) for x in (gained, lost, n, difference))
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    root = np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0))
    # The two forms are equal; each is used where it does not subtract nearly equal numbers.
    with np.errstate(divide="ignore", invalid="ignore"):
        restricted = np.where(linear <= 0, (root - linear) / (4 * n), -2 * constant / (root + linear))
    restricted = np.maximum(restricted, np.maximum(0.0, -delta))
    variance = n * (2 * restricted + delta * (1 - delta))
    distance = b - c - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        score = distance / np.sqrt(np.maximum(variance, 0.0))
    return np.where(np.abs(distance) <= 1e-12 * n, 0.0, score)


def tango_bound(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, confidence: float, *, upper: bool) -> Floats:
    """One one-sided bound of the difference (gained - lost) / n, by bisection of the score: never leaves [-1, 1]."""
    b, c, n = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (gained, lost, n)))
    if upper:
        return -tango_bound(c, b, n, confidence, upper=False)
    critical = normal_quantile(confidence)
    outside, inside = np.full(b.shape, -1.0), (b - c) / n
    for _ in range(52):
        middle = (outside + inside) / 2
        rejected = tango_score(b, c, n, middle) > critical
        outside, inside = np.where(rejected, middle, outside), np.where(rejected, inside, middle)
    return np.asarray(outside)


def mcnemar_p(worse: ArrayLike, better: ArrayLike) -> Floats:
    """The exact one-sided p-value of ``worse`` or more of the discordant pairs, each direction equally likely.

    Counts may be fractional (the regularised beta function interpolates the binomial). No discordant pair gives 1.
    Source: McNemar 1947; exact form as in statsmodels ``mcnemar(exact=True)``, here one-sided.
    """
    w, b = (np.asarray(x, dtype=float) for x in (worse, better))
    return np.where(w > 0, beta_cdf(0.5, np.where(w > 0, w, 1.0), b + 1), 1.0)


@dataclass(frozen=True, slots=True)
class PairedScore:
    """The difference of paired rates times ``scale``: Tango bounds, and McNemar's exact p-value against 0."""

    gained: Floats
    lost: Floats
    n: float
    scale: float = 1.0
    method: str = "Tango score"

    @property
    def estimate(self) -> Floats:
        """scale * (gained - lost) / n."""
        return self.scale * (self.gained - self.lost) / self.n

    @property
    def se(self) -> Floats:
        """The Wald error, 0 when no pair is discordant: for planning only, the bounds do not use it."""
        net = np.square(self.gained - self.lost) / self.n
        return self.scale * np.sqrt(np.maximum(self.gained + self.lost - net, 0.0)) / self.n

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound."""
        return self.scale * tango_bound(self.gained, self.lost, self.n, confidence, upper=False)

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""
        return self.scale * tango_bound(self.gained, self.lost, self.n, confidence, upper=True)

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the difference is <= bound"."""
        if bound == 0:
            return mcnemar_p(self.gained, self.lost)
        return np.asarray(normal_cdf(-self._score(bound)))

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the difference is >= bound"."""
        if bound == 0:
            return mcnemar_p(self.lost, self.gained)
        return np.asarray(normal_cdf(self._score(bound)))

    def _score(self, bound: float) -> Floats:
        if abs(bound) >= self.scale:
            return np.full(np.shape(self.gained), -np.inf if bound > 0 else np.inf)
        return tango_score(self.gained, self.lost, self.n, bound / self.scale)
