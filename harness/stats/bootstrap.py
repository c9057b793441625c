"""The bias-corrected and accelerated bootstrap of one sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.stats.distributions import Floats, normal_cdf, normal_quantile

Statistic = Callable[[Floats], Floats]


def row_mean(samples: Floats) -> Floats:
    """The mean of each row."""
    return np.asarray(samples.mean(axis=-1))


def row_quantile(probability: float) -> Statistic:
    """A statistic: this quantile of each row."""
    return lambda samples: np.asarray(np.quantile(samples, probability, axis=-1))


def bca_bounds(
    values: Floats, statistic: Statistic = row_mean, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """BCa bounds of ``statistic`` of ``values`` (n), each one-sided at ``confidence``.

    ``statistic`` maps (batch, n) to (batch). Fewer than 2 values, or values that are all equal, give (-inf, inf):
    the bootstrap of a constant has width 0 and says nothing. Source: Efron 1987, JASA 82, 171-185.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2 or np.ptp(values) == 0:
        return -np.inf, np.inf
    generator = np.random.default_rng(seed)
    draws = values[generator.integers(0, values.size, size=(resamples, values.size))]
    replicates = np.sort(statistic(draws))
    estimate = float(statistic(values[None])[0])
    below = np.mean(replicates < estimate) + 0.5 * np.mean(replicates == estimate)
    bias = normal_quantile(float(np.clip(below, 1 / (2 * resamples), 1 - 1 / (2 * resamples))))
    acceleration = _acceleration(values, statistic)
    ends = [_level(normal_quantile(p), bias, acceleration) for p in (1 - confidence, confidence)]
    low, high = np.quantile(replicates, ends)
    return float(low), float(high)


def _acceleration(values: Floats, statistic: Statistic) -> float:
    left_out = np.array([float(statistic(np.delete(values, i)[None])[0]) for i in range(values.size)])
    residuals = left_out.mean() - left_out
    squares = float(np.square(residuals).sum())
    return float((residuals**3).sum() / (6 * squares**1.5)) if squares > 0 else 0.0


def _level(z: float, bias: float, acceleration: float) -> float:
    shifted = bias + z
    return float(normal_cdf(bias + shifted / (1 - acceleration * shifted)))
