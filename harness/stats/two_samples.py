"""Whether two samples come from one distribution: sample ratios, a classifier's AUC, the stability index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.stats.distributions import Floats, normal_cdf, normal_quantile

Flags = NDArray[np.bool_]


def sample_ratio(counts: ArrayLike, shares: ArrayLike) -> float:
    """The chi-square p-value against "units were dealt in these ``shares``" (any scale, all positive).

    Source: Pearson 1900; as a check of experiments Fabijan et al. 2019, KDD, 2156-2164.
    """
    seen, wanted = np.asarray(counts, dtype=float), np.asarray(shares, dtype=float)
    expected = wanted / wanted.sum() * seen.sum()
    if seen.size < 2 or not seen.sum():
        return 1.0
    return chi_square_tail(float((np.square(seen - expected) / expected).sum()), seen.size - 1)


def independence(table: ArrayLike) -> float:
    """The chi-square p-value against "the columns of ``table`` (rows, columns) do not depend on the rows"."""
    counts = np.asarray(table, dtype=float)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    free = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    return chi_square_tail(float((np.square(counts - expected) / expected).sum()), free)


def chi_square_tail(statistic: float, df: int) -> float:
    """P(X >= statistic) of the chi-square distribution."""
    return float(import_module("scipy.special").chdtrc(df, statistic))


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two samples are apart, 0 (or 0.5 for an AUC) where they are one.

    ``same_p`` is the exact p-value against "both come from one distribution". ``upper(confidence)`` is a one-sided
    bound of the distance; ``p_above`` and ``p_below`` of a bound use the distance's standard error.
    """

    distance: float
    error: float
    same_p: float
    replicates: Floats | None = None
    bias: float = 0.0
    floor: float = 0.0
    method: str = "permutation test"

    @property
    def estimate(self) -> Floats:
        """The distance."""
        return np.asarray(self.distance)

    @property
    def se(self) -> Floats:
        """Its standard error."""
        return np.asarray(self.error)

    def low(self, confidence: float) -> Floats:
        """The one-sided lower bound, never below "one distribution"."""
        if self.replicates is None:
            return np.asarray(max(self.floor, self.distance - normal_quantile(confidence) * self.error))
        # Replicates exceed the estimate by the bias once, the estimate the truth once more.
        return np.asarray(max(self.floor, float(np.quantile(self.replicates, 1 - confidence)) - 2 * self.bias))

    def high(self, confidence: float) -> Floats:
        """The one-sided upper bound."""
        if self.replicates is None:
            return np.asarray(self.distance + normal_quantile(confidence) * self.error)
        return np.asarray(float(np.quantile(self.replicates, confidence)) - self.bias)

    def p_above(self, bound: float) -> Floats:
        """The p-value against "the distance is <= bound"."""
        return self._p(self.distance - bound)

    def p_below(self, bound: float) -> Floats:
        """The p-value against "the distance is >= bound"."""
        return self._p(bound - self.distance)

    def _p(self, distance: float) -> Floats:
        return normal_cdf(-distance / self.error) if self.error > 0 else np.asarray(float(distance <= 0))


def stability_index(reference: ArrayLike, current: ArrayLike) -> Floats:
    """The population stability index of counts (..., bins): sum of (q - p) log(q / p), half a count in every bin.

    Source: Jeffreys' divergence (Jeffreys 1946, Proc. R. Soc. A 186, 453-461); as a stability index Siddiqi 2006,
    Credit Risk Scorecards.
    """
    shares = [_shares(np.asarray(counts, dtype=float)) for counts in (reference, current)]
    return np.asarray(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum(axis=-1))


def _shares(counts: Floats) -> Floats:
    smooth = counts + 0.5
    return np.asarray(smooth / smooth.sum(axis=-1, keepdims=True))


def binned_shift(reference: ArrayLike, current: ArrayLike, *, draws: int = 999, seed: int = 0) -> Shift:
    """The stability index of two rows of counts over the same bins, with an exact permutation test.

    Permuting the units of both samples deals the pooled counts by the multivariate hypergeometric distribution.
    Bounds are percentiles of a bootstrap of both samples, less what the noise of counts adds,
    (bins - 1)(1/n + 1/m) (Yurdakul and Naranjo 2020, Journal of Risk Model Validation 14). Where all units fall into
    one bin, the bound is what three units elsewhere would give (Hanley and Lippman-Hand 1983, JAMA 249, 1743-1745).
    """
    old, new = np.asarray(reference, dtype=np.int64), np.asarray(current, dtype=np.int64)
    keep = old + new > 0
    old, new = old[keep], new[keep]
    n, m = int(old.sum()), int(new.sum())
    if not n or not m:
        return Shift(0.0, np.inf, 1.0, method="none")
    if old.size < 2:
        three = float(stability_index([n, 0], [max(0, m - 3), min(3, m)]))
        return Shift(0.0, three / normal_quantile(0.95), 1.0, method="rule of three")
    generator = np.random.default_rng(seed)
    found = float(stability_index(old, new))
    dealt = generator.multivariate_hypergeometric(old + new, m, size=draws)
    same = stability_index(old + new - dealt, dealt)
    drawn = [generator.multinomial(size, counts / size, size=draws) for size, counts in ((n, old), (m, new))]
    replicates = stability_index(*drawn)
    p_value = (1 + int((same >= found - 1e-12).sum())) / (draws + 1)
    bias = (old.size - 1) * (1 / n + 1 / m)
    return Shift(found, float(replicates.std(ddof=1)), p_value, replicates, bias)


def classifier_shift(
    features: ArrayLike, current: ArrayLike, *, folds: int = 5, draws: int = 499, ridge: float = 0.1, seed: int = 0
) -> Shift:
    """How well a ridge classifier, cross-validated, tells the ``current`` units (n flags) from the others.

    The distance is the AUC of held-out scores, 0.5 for one distribution. The p-value is exact: labels are permuted
    and the whole fit is repeated, which for a ridge is one more right-hand side. The standard error is the influence
    curve's of a cross-validated AUC.
    Sources: Lopez-Paz and Oquab 2017 (ICLR, arXiv 1610.06545) on classifier two-sample tests; Phipson and Smyth 2010
    on permutation p-values; LeDell, Petersen and van der Laan 2015, Electronic Journal of Statistics 9, 1583-1607.
    """
    z, labels = _scaled(np.asarray(features, dtype=float)), np.asarray(current, dtype=bool)
    generator = np.random.default_rng(seed)
    columns = np.stack([labels, *(generator.permutation(labels) for _ in range(draws))], axis=1)
    kernel = z @ z.T / max(1, z.shape[1])
    penalty = ridge * float(np.trace(kernel)) / labels.size + 1e-9
    # The folds know nothing of the labels: only then do permuted labels stand for the null.
    order = generator.permutation(labels.size)
    wins, pairs = np.zeros(draws + 1), np.zeros(draws + 1)
    above, below = [np.empty(0)], [np.empty(0)]
    for held in np.array_split(order, folds):
        scores = _held_out(kernel, columns, held, penalty)
        won, possible = _wins(scores, columns[held])
        wins, pairs = wins + won, pairs + possible
        ours, theirs = _placements(scores[:, 0], labels[held])
        above.append(ours)
        below.append(theirs)
    aucs = np.divide(wins, pairs, out=np.full(draws + 1, 0.5), where=pairs > 0)
    error = _auc_error(np.concatenate(above), np.concatenate(below))
    p_value = (1 + int((aucs[1:] >= aucs[0] - 1e-12).sum())) / (draws + 1)
    return Shift(float(aucs[0]), error, p_value, floor=0.5, method="cross-validated classifier, permutation test")


def _scaled(features: Floats) -> Floats:
    spread = features.std(axis=0)
    centred = features - features.mean(axis=0)
    return np.asarray(centred[:, spread > 1e-12] / spread[spread > 1e-12])


def _held_out(kernel: Floats, columns: Flags, held: NDArray[np.intp], penalty: float) -> Floats:
    """The scores (held, draws) of classifiers that never saw the held-out units."""
    seen = np.setdiff1d(np.arange(kernel.shape[0]), held)
    targets = np.where(columns[seen], 1.0, -1.0)
    inner = kernel[np.ix_(seen, seen)] + penalty * np.eye(seen.size)
    weights = np.linalg.solve(inner, targets - targets.mean(axis=0))
    return np.asarray(kernel[np.ix_(held, seen)] @ weights)


def _wins(scores: Floats, columns: Flags) -> tuple[Floats, Floats]:
    """In each column: pairs (one of either sample) whose scores are in the right order, and all pairs."""
    rank = import_module("scipy.stats").rankdata(np.round(scores, 12), axis=0)
    ours = columns.sum(axis=0)
    theirs = columns.shape[0] - ours
    sums = np.where(columns, rank, 0.0).sum(axis=0)
    return sums - ours * (ours + 1) / 2, np.asarray(ours * theirs, dtype=float)


def _placements(scores: Floats, labels: Flags) -> tuple[Floats, Floats]:
    """Of each unit the share of the other sample that it beats; empty where a fold holds one sample only."""
    ours, theirs = scores[labels], scores[~labels]
    if not ours.size or not theirs.size:
        return np.empty(0), np.empty(0)
    beats = (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
    return beats.mean(axis=1), beats.mean(axis=0)


def _auc_error(above: Floats, below: Floats) -> float:
    parts: Sequence[Floats] = [part for part in (above, below) if part.size > 1]
    return float(np.sqrt(sum(part.var(ddof=1) / part.size for part in parts)))
