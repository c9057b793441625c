"""Quantiles over rows whose uncertainty is counted in clusters: one arm, and the difference of two paired arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.stats.clusters import Codes, cluster_sums, moments
from harness.stats.distributions import Floats, binomial_cdf, normal_cdf, t_cdf, t_quantile
from harness.stats.inference import Inference, Unknown
from harness.stats.rates import effective_n


def empirical_quantile(ordered: Floats, probability: float) -> float:
    """The smallest of the sorted values that at least this share of them does not exceed."""
    return float(ordered[max(0, int(np.ceil(probability * ordered.size - 1e-9)) - 1)])


@dataclass(frozen=True, slots=True)
class OrderStatistic:
    """A quantile bounded by order statistics: no assumption on the distribution, infinite when n is too small.

    ``trials`` is the effective number of independent rows; with as many as rows the bounds are the exact ones.
    Source: Woodruff 1952, JASA 47, 635-646; effective n of Korn and Graubard 1998 for clusters.
    """

    ordered: Floats
    probability: float
    trials: int
    method: str = "order statistics"

    @property
    def estimate(self) -> Floats:
        """The empirical quantile."""
        return np.asarray(empirical_quantile(self.ordered, self.probability))

    @property
    def se(self) -> Floats:
        """Half the 68 % interval; infinite when that is."""
        return np.asarray((self.high(0.8413447) - self.low(0.8413447)) / 2)

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound, -inf when too few rows lie below."""
        below = binomial_cdf(np.arange(self.trials), self.trials, self.probability)
        rank = int(np.searchsorted(below, 1 - confidence, side="right"))
        if rank < 1:
            return np.asarray(-np.inf)
        place = int(np.floor(rank / self.trials * self.ordered.size + 1e-9))
        return np.asarray(self.ordered[max(place, 1) - 1])

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound, inf when too few rows lie above."""
        below = binomial_cdf(np.arange(self.trials), self.trials, self.probability)
        rank = int(np.searchsorted(below, confidence - 1e-12, side="left")) + 1
        if rank > self.trials:
            return np.asarray(np.inf)
        place = int(np.ceil(rank / self.trials * self.ordered.size - 1e-9))
        return np.asarray(self.ordered[place - 1])

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the quantile is <= bound": few rows at or below it."""
        count = float(np.searchsorted(self.ordered, bound, side="right"))
        return binomial_cdf(np.ceil(self._scaled(count)), self.trials, self.probability)

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the quantile is >= bound": many rows below it."""
        count = float(np.searchsorted(self.ordered, bound, side="left"))
        return 1 - binomial_cdf(np.floor(self._scaled(count)) - 1, self.trials, self.probability)

    def _scaled(self, count: float) -> float:
        return round(count * self.trials / self.ordered.size, 9)


def quantile(values: Floats, probability: float, codes: Codes | None = None) -> Inference:
    """Inference for one quantile of the rows ``values`` (n) in clusters ``codes`` (n)."""
    ordered = np.sort(np.asarray(values, dtype=float))
    trials = ordered.size
    if codes is not None:
        point = empirical_quantile(ordered, probability)
        found = moments(cluster_sums((values <= point).astype(float), codes))
        if not np.isfinite(found.se):
            return Unknown(np.asarray(point))
        if found.se > 0:
            share = float(np.clip(found.mean, 1e-9, 1 - 1e-9))
            trials = min(trials, max(1, int(effective_n(share, float(found.se), found.df, 0.95) + 1e-6)))
        else:
            trials = min(trials, found.df + 1)
    return OrderStatistic(ordered, probability, trials)


@dataclass(frozen=True, slots=True)
class QuantileDifference:
    """The difference of two quantiles, from ``replicates`` of a bootstrap of whole clusters.

    Bounds are the expanded percentiles of Hesterberg 2015 (The American Statistician 69, 371-386), which undo the
    percentile bootstrap's narrowness for few clusters; p-values use the bootstrap's error with a t distribution.
    ``open_low`` and ``open_high`` say that an arm has too few rows to bound its own quantile on that side.
    """

    estimate: Floats
    replicates: Floats
    clusters: int
    open_low: bool = False
    open_high: bool = False
    method: str = "clustered bootstrap"

    @property
    def se(self) -> Floats:
        """The bootstrap standard error with the factor G / (G - 1) on the variance."""
        widen = self.clusters / (self.clusters - 1)
        return np.asarray(np.std(self.replicates, ddof=1) * np.sqrt(widen))

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound; -inf when an arm cannot bound it, or nothing varied."""
        if self.open_low or self._flat():
            return np.asarray(-np.inf)
        return np.asarray(np.quantile(self.replicates, self._tail(confidence)))

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound; inf when an arm cannot bound it, or nothing varied."""
        if self.open_high or self._flat():
            return np.asarray(np.inf)
        return np.asarray(np.quantile(self.replicates, 1 - self._tail(confidence)))

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the difference is <= bound"."""
        return self._p(float(self.estimate) - bound, closed=not self.open_low)

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the difference is >= bound"."""
        return self._p(bound - float(self.estimate), closed=not self.open_high)

    def _tail(self, confidence: float) -> float:
        widen = np.sqrt(self.clusters / (self.clusters - 1))
        return float(normal_cdf(-widen * t_quantile(confidence, self.clusters - 1)))

    def _flat(self) -> bool:
        return bool(np.ptp(self.replicates) == 0)

    def _p(self, distance: float, *, closed: bool) -> Floats:
        if not closed or self._flat():
            return np.asarray(1.0)
        return t_cdf(-distance / float(self.se), self.clusters - 1)


@dataclass(frozen=True, slots=True)
class Arm:
    """Rows of one arm: their values and the code of each one's cluster, shared between the arms."""

    values: Floats
    codes: Codes


def quantile_difference(
    candidate: Arm, baseline: Arm, probability: float, *, resamples: int = 1000, seed: int = 0
) -> Inference:
    """Inference for quantile(candidate) - quantile(baseline); whole clusters are drawn, the same for both arms."""
    used, flat = np.unique(np.concatenate([candidate.codes, baseline.codes]), return_inverse=True)
    split = candidate.codes.size
    ours_of, theirs_of = _resampler(candidate.values, flat[:split]), _resampler(baseline.values, flat[split:])
    generator = np.random.default_rng(seed)
    replicates = np.empty(resamples)
    for index in range(resamples):
        drawn = np.bincount(generator.integers(0, used.size, used.size), minlength=used.size)
        with np.errstate(invalid="ignore"):
            replicates[index] = ours_of(drawn, probability) - theirs_of(drawn, probability)
    points = [empirical_quantile(np.sort(arm.values), probability) for arm in (candidate, baseline)]
    estimate = np.asarray(points[0] - points[1])
    if used.size < 2 or not np.isfinite(replicates).all() or not np.isfinite(estimate):
        return Unknown(estimate)
    ours, theirs = (quantile(arm.values, probability, arm.codes) for arm in (candidate, baseline))
    open_low = bool(np.isinf(ours.low(0.95)) or np.isinf(theirs.high(0.95)))
    open_high = bool(np.isinf(ours.high(0.95)) or np.isinf(theirs.low(0.95)))
    return QuantileDifference(estimate, replicates, int(used.size), open_low, open_high)


def _resampler(values: Floats, codes: Codes) -> Callable[[Codes, float], float]:
    """A function from how often each cluster was drawn to the quantile of the drawn rows: sorts only once."""
    order = np.argsort(values, kind="stable")
    ordered, owner = values[order], codes[order]

    def drawn_quantile(counts: Codes, probability: float) -> float:
        weight = np.cumsum(counts[owner])
        if weight[-1] == 0:
            # A resample that drew none of this arm's clusters has no quantile.
            return float("nan")
        return float(ordered[int(np.searchsorted(weight, probability * weight[-1] - 1e-9))])

    return drawn_quantile
