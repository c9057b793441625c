"""Holm's correction of p-values for several tests at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from harness.stats.distributions import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values along the last axis, in the order given; rejecting those <= alpha keeps the chance of any
    false rejection at or below alpha, however the tests depend on each other.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted
