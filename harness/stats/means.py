"""Inference for one mean or rate, and for a mean of paired differences: which method, and when it is guarded."""

from __future__ import annotations

import numpy as np

from harness.stats.clusters import ClusterSums, Codes, cluster_sums, moments
from harness.stats.distributions import Floats
from harness.stats.inference import Guarded, Inference
from harness.stats.rates import ExactRate, ScoreRate, effective_n
from harness.stats.student import StudentT
from harness.stats.tango import PairedScore

FEW_CHANGED = 10
"""Below so many clusters that differ, a standard error rests on too little: the interval is guarded."""

_SAME = 1e-9


def paired_mean(differences: Floats, codes: Codes | None = None, *, extent: float = 1.0) -> Inference:
    """Inference for the mean of per-case ``differences`` (batch..., n), each in [-extent, extent].

    Unclustered differences that are all -extent, 0 or extent are paired binary data: Tango's score interval, exact
    McNemar. Otherwise a cluster-robust, skewness-corrected t; where fewer than FEW_CHANGED clusters changed, its
    union with extent * Tango on the signs of change, so that no change at all never has width 0.
    """
    sums = cluster_sums(differences, codes)
    signs = _signs(sums, extent)
    if sums.singletons and _all_binary(differences, extent):
        return signs
    changed = (np.abs(sums.sums) > _SAME * extent).sum(axis=-1)
    return Guarded(StudentT(moments(sums)), signs, np.asarray(changed < FEW_CHANGED))


def _signs(data: ClusterSums, extent: float) -> PairedScore:
    share = data.effective / data.clusters
    gained = (data.sums > _SAME * extent).sum(axis=-1) * share
    lost = (data.sums < -_SAME * extent).sum(axis=-1) * share
    return PairedScore(np.asarray(gained), np.asarray(lost), data.effective, extent)


def _all_binary(differences: Floats, extent: float) -> bool:
    size = np.abs(differences)
    return bool(np.all((size <= _SAME * extent) | (np.abs(size - extent) <= _SAME * extent)))


def mean(values: Floats, codes: Codes | None = None, *, minimum: float = 0.0, maximum: float = 1.0) -> Inference:
    """Inference for the mean of per-case ``values`` (n), each in [minimum, maximum].

    Two-valued unclustered data: Wilson. Otherwise the skewness-corrected clustered t, in union with Wilson on
    fractional successes where fewer than FEW_CHANGED clusters differ from the most common value.
    """
    sums = cluster_sums(values, codes)
    shares = (np.asarray(values, dtype=float) - minimum) / (maximum - minimum)
    score = ScoreRate(np.asarray(shares.mean() * sums.effective), sums.effective, minimum, maximum - minimum)
    if sums.singletons and _two_valued(shares):
        return score
    return Guarded(StudentT(moments(sums)), score, np.asarray(_few_differ(sums)))


def rate(
    values: Floats, codes: Codes | None = None, *, minimum: float = 0.0, maximum: float = 1.0, rows: int = 0
) -> Inference:
    """Inference for a rate from per-case shares ``values`` (n): Clopper-Pearson, exact for one attempt a case.

    With repeats or clusters the number of trials is the effective one (Korn and Graubard), at most ``rows``;
    it is the number of clusters where fewer than FEW_CHANGED of them differ from the most common value.
    """
    sums = cluster_sums(values, codes)
    extent = maximum - minimum
    shares = (np.asarray(values, dtype=float) - minimum) / extent
    share = float(shares.mean())
    if sums.singletons and _two_valued(shares):
        return ExactRate(np.asarray(shares.sum()), float(sums.units), minimum, extent)
    trials = sums.effective
    if not _few_differ(sums):
        found = moments(cluster_sums(shares, codes))
        trials = min(effective_n(share, float(found.se), found.df, 0.95), float(max(rows, sums.units)))
    return ExactRate(np.asarray(share * trials), trials, minimum, extent, "Clopper-Pearson, effective n")


def _two_valued(shares: Floats) -> bool:
    return bool(np.all((np.abs(shares) <= _SAME) | (np.abs(shares - 1) <= _SAME)))


def _few_differ(sums: ClusterSums) -> bool:
    means = sums.sums / sums.sizes
    # When most clusters share one value, it is the median; then only the others carry information.
    typical = np.median(means)
    return int((np.abs(means - typical) > _SAME * max(1.0, abs(float(typical)))).sum()) < FEW_CHANGED
