"""Agreement of two raters: Cohen's kappa with its interval, and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.stats.distributions import normal_quantile
from harness.stats.rates import clopper_pearson


@dataclass(frozen=True, slots=True)
class Kappa:
    """``value`` between ``low`` and ``high``; all None where a rater's only category leaves nothing to agree on."""

    value: float | None
    low: float | None = None
    high: float | None = None


def confusion_matrix(first: Sequence[int], second: Sequence[int], categories: int) -> npt.NDArray[np.float64]:
    """Counts by the categories (0 to ``categories`` - 1) of two raters of the same things: rows are the first's."""
    table = np.zeros((categories, categories))
    np.add.at(table, (np.asarray(first, int), np.asarray(second, int)), 1.0)
    return table


def cohens_kappa(table: npt.ArrayLike, *, linear: bool = False, confidence: float = 0.95) -> Kappa:
    """Kappa of a square table of counts (Cohen 1960), with linear weights if ``linear`` (Cohen 1968).

    The interval is that of the large-sample variance of Fleiss, Cohen and Everitt (1969, Psychological Bulletin 72,
    323-327), cut at -1 and 1. Where the sample shows no disagreement or no spread that variance is 0; then the limits
    are those of Clopper and Pearson (1934) for the agreement, at the chance agreement that was seen.
    """
    counts = np.asarray(table, float)
    total = counts.sum()
    if total == 0:
        return Kappa(None)
    shares = counts / total
    rows, columns = shares.sum(1), shares.sum(0)
    weights = _weights(len(counts), linear=linear)
    observed, expected = float((weights * shares).sum()), float(rows @ weights @ columns)
    if expected >= 1 - 1e-12:
        return Kappa(None)
    value = (observed - expected) / (1 - expected)
    error = _standard_error(shares, weights, total)
    if error < 1e-9:
        low, high = (float(limit) for limit in clopper_pearson(round(observed * total), int(total), confidence))
        return Kappa(value, max(-1.0, (low - expected) / (1 - expected)), min(1.0, (high - expected) / (1 - expected)))
    reach = normal_quantile(0.5 + confidence / 2) * error
    return Kappa(value, max(-1.0, value - reach), min(1.0, value + reach))


def _weights(size: int, *, linear: bool) -> npt.NDArray[np.float64]:
    if not linear:
        return np.eye(size)
    place = np.arange(size, dtype=float)
    return np.asarray(1 - np.abs(place[:, None] - place[None, :]) / max(size - 1, 1))


def _standard_error(shares: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], total: float) -> float:
    rows, columns = shares.sum(1), shares.sum(0)
    observed, expected = (weights * shares).sum(), rows @ weights @ columns
    # The mean weight that each category of either rater meets.
    of_rows, of_columns = weights @ columns, weights.T @ rows
    terms = weights * (1 - expected) - (of_rows[:, None] + of_columns[None, :]) * (1 - observed)
    variance = (shares * terms**2).sum() - (observed * expected - 2 * expected + observed) ** 2
    return float(np.sqrt(max(variance, 0.0) / total) / (1 - expected) ** 2)


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """The chance that a positive scores above a negative, ties by half (Mann and Whitney 1947); None without both."""
    if not positives or not negatives:
        return None
    order = np.sort(np.asarray(negatives, float))
    values = np.asarray(positives, float)
    below = np.searchsorted(order, values, "left")
    not_above = np.searchsorted(order, values, "right")
    return float((below + not_above).sum() / (2 * len(values) * len(order)))
