"""The few distribution functions that the room needs, elementwise; scipy is imported on the first call."""

from __future__ import annotations

from importlib import import_module
from statistics import NormalDist
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def _special() -> ModuleType:
    # scipy.special loads in a tenth of the time of scipy.stats, and a gate with cached rows ends in seconds
    return import_module("scipy.special")


def normal_quantile(probability: float) -> float:
    """The standard normal quantile of one probability in (0, 1), without scipy."""
    return NormalDist().inv_cdf(probability)


def normal_cdf(x: ArrayLike) -> Floats:
    """P(Z <= x) of the standard normal."""
    return np.asarray(_special().ndtr(x), dtype=float)


def t_quantile(probability: float, df: ArrayLike) -> Floats:
    """The quantile of Student's t with ``df`` degrees of freedom."""
    return np.asarray(_special().stdtrit(df, probability), dtype=float)


def t_cdf(x: ArrayLike, df: ArrayLike) -> Floats:
    """P(T <= x) of Student's t with ``df`` degrees of freedom."""
    return np.asarray(_special().stdtr(df, x), dtype=float)


def noncentral_t_cdf(x: ArrayLike, df: ArrayLike, shift: ArrayLike) -> Floats:
    """P(T <= x) of the non-central t, the distribution behind the power of a t-test."""
    return np.asarray(_special().nctdtr(df, shift, x), dtype=float)


def beta_quantile(probability: float, a: ArrayLike, b: ArrayLike) -> Floats:
    """The quantile of Beta(a, b)."""
    return np.asarray(_special().betaincinv(a, b, probability), dtype=float)


def beta_cdf(x: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """P(X <= x) of Beta(a, b)."""
    return np.asarray(_special().betainc(a, b, x), dtype=float)


def binomial_cdf(successes: ArrayLike, n: int, probability: float) -> Floats:
    """P(X <= successes) of Binomial(n, probability); below 0 it is 0, from n on it is 1."""
    k = np.floor(np.asarray(successes, dtype=float))
    inside = np.clip(k, 0, n)
    values = np.asarray(_special().bdtr(inside, n, probability), dtype=float)
    return np.where(k < 0, 0.0, np.where(k >= n, 1.0, values))
