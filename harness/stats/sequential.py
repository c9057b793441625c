"""Looking at growing data as often as one likes: asymptotic confidence sequences, and the scores of an A/B test."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.stats.distributions import Floats


def tuned_rho(n: int, alpha: float) -> float:
    """The mixture's parameter that makes the sequence narrowest after ``n`` units at two-sided ``alpha``.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021 (arXiv 2103.06476v7), equation (161),
    with the approximation -W(-x) = -log(x) + log(1 - log(x)) of Lambert's function.
    """
    size = -2 * math.log(alpha)
    return math.sqrt((size + math.log(size + 1)) / n)


@dataclass(frozen=True, slots=True)
class MeanSequence:
    """The mean of ``n`` units seen in order, bounded at all n at once: whoever looks after every unit and stops when
    the bound pleases is wrong with at most the promised probability, asymptotically.

    One-sided bounds are those of Robbins' half-normal mixture,
    mean - sd * sqrt(2 (n rho^2 + 1) / (n^2 rho^2) * log(1 + sqrt(n rho^2 + 1) / (2 alpha))).
    Source: Waudby-Smith et al. 2021 (arXiv 2103.06476v7), equation (9), in its one-sided form; the
    boundary is that of Howard, Ramdas, McAuliffe and Sekhon 2021, Annals of Statistics 49, 1055-1080 (one-sided
    normal mixture). Outcomes that never vary have no variance to estimate: bounds are then infinite.
    """

    mean: float
    sd: float
    n: int
    rho: float
    method: str = "asymptotic confidence sequence"

    @property
    def estimate(self) -> Floats:
        """The mean."""
        return np.asarray(self.mean)

    @property
    def se(self) -> Floats:
        """The standard error of the mean at this n alone."""
        return np.asarray(self.sd / math.sqrt(self.n) if self.n and self._usable else np.inf)

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound, for all n at once."""
        return np.asarray(self.mean - self._margin(1 - confidence))

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound, for all n at once."""
        return np.asarray(self.mean + self._margin(1 - confidence))

    def p_above(self, bound: float) -> Floats:
        """The always-valid p-value against "the mean is <= bound": the least alpha that excludes it."""
        return self._p(self.mean - bound)

    def p_below(self, bound: float) -> Floats:
        """The always-valid p-value against "the mean is >= bound"."""
        return self._p(bound - self.mean)

    @property
    def _usable(self) -> bool:
        return self.n >= 2 and self.sd > 0

    def _margin(self, alpha: float) -> float:
        if not self._usable:
            return math.inf
        grown = self.n * self.rho**2 + 1
        return self.sd * math.sqrt(2 * grown / (self.n * self.rho) ** 2 * math.log1p(math.sqrt(grown) / (2 * alpha)))

    def _p(self, distance: float) -> Floats:
        if not self._usable or distance <= 0:
            return np.asarray(1.0)
        grown = self.n * self.rho**2 + 1
        exponent = (distance / self.sd * self.n * self.rho) ** 2 / (2 * grown)
        if exponent > 700:
            return np.asarray(0.0)
        return np.asarray(min(1.0, math.sqrt(grown) / (2 * math.expm1(exponent))))


def mean_sequence(scores: ArrayLike, *, tuned_for: int, confidence: float = 0.95) -> MeanSequence:
    """The confidence sequence of the mean of ``scores`` (n, in the order in which they were seen).

    It is narrowest after ``tuned_for`` units, a number that is chosen before the data are seen.
    """
    values = np.asarray(scores, dtype=float)
    rho = tuned_rho(tuned_for, 2 * (1 - confidence))
    if values.size == 0:
        return MeanSequence(math.nan, 0.0, 0, rho)
    return MeanSequence(float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0, values.size, rho)


PSEUDO = 2
"""Outcomes of 0, and as many of 1, that are added to each arm before its variance may count as known."""


def effect_sequence(
    outcomes: ArrayLike, treated: ArrayLike, share: float, *, tuned_for: int, confidence: float = 0.95
) -> MeanSequence:
    """The confidence sequence of the treatment's effect on the mean outcome; arguments as ``effect_scores``.

    Where bad outcomes are rare, an arm that has had none looks as if it could have none, and the bound of a lopsided
    experiment was wrong in 12 % instead of 5 % (99 % good, a tenth of users treated). So the standard deviation is at
    least the one with two good and two bad outcomes added to each arm (Agresti and Coull 1998, The American
    Statistician 52, 119-126): wrong in at most 4 % from a hundred users in each arm on.
    """
    y, arm = np.asarray(outcomes, dtype=float), np.asarray(treated, dtype=bool)
    found = mean_sequence(effect_scores(y, arm, share), tuned_for=tuned_for, confidence=confidence)
    least = math.sqrt(_padded_variance(y[arm]) / share + _padded_variance(y[~arm]) / (1 - share))
    return replace(found, sd=max(found.sd, least))


def _padded_variance(outcomes: Floats) -> float:
    padded = np.r_[outcomes, np.zeros(PSEUDO), np.ones(PSEUDO)]
    return float(padded.var())


def effect_scores(outcomes: ArrayLike, treated: ArrayLike, share: float) -> Floats:
    """One score a unit whose mean is the effect of the treatment on the mean outcome.

    ``outcomes`` (n) lie in [0, 1], in the order of the units' arrival; ``treated`` (n) says which arm each was dealt,
    with probability ``share``. A score is the augmented inverse-probability weighted outcome; the arm means that
    augment it come from earlier units only, so that the errors stay a martingale.
    Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), section 3.1 on randomised sequential experiments.
    """
    y, arm = np.asarray(outcomes, dtype=float), np.asarray(treated, dtype=bool)
    ours, theirs = _earlier_means(y, arm), _earlier_means(y, ~arm)
    return np.asarray(ours - theirs + np.where(arm, (y - ours) / share, -(y - theirs) / (1 - share)))


def _earlier_means(outcomes: Floats, mine: NDArray[np.bool_]) -> Floats:
    """For each unit the mean of earlier ones of an arm, with one half observed before the first."""
    sums, counts = np.cumsum(np.where(mine, outcomes, 0.0)), np.cumsum(mine)
    before, seen = np.r_[0.0, sums[:-1]], np.r_[0, counts[:-1]]
    return np.asarray((before + 0.5) / (seen + 1))
