"""Sums per cluster, and the moments of a mean whose rows are correlated inside a cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.distributions import Floats

Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """``sums`` (batch..., clusters) of the values and ``sizes`` (clusters) of ``n`` units."""

    sums: Floats
    sizes: Floats

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return int(self.sizes.size)

    @property
    def units(self) -> int:
        """The number of units in all clusters."""
        return int(self.sizes.sum())

    @property
    def singletons(self) -> bool:
        """Whether every unit is its own cluster."""
        return self.clusters == self.units

    @property
    def effective(self) -> float:
        """Kish's effective number of clusters, (sum m)^2 / sum m^2: fewer than there are when sizes differ."""
        return float(self.sizes.sum() ** 2 / np.square(self.sizes).sum())


def cluster_sums(values: Floats, codes: Codes | None = None) -> ClusterSums:
    """Sum ``values`` (batch..., n) over the clusters in ``codes`` (n); without codes each unit is a cluster."""
    values = np.asarray(values, dtype=float)
    if codes is None:
        return ClusterSums(values, np.ones(values.shape[-1]))
    order = np.argsort(codes, kind="stable")
    _, starts, sizes = np.unique(codes[order], return_index=True, return_counts=True)
    return ClusterSums(np.add.reduceat(values[..., order], starts, axis=-1), sizes.astype(float))


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean over units, its cluster-robust standard error, and ``skew`` = skewness / sqrt(clusters).

    ``skew_noise`` is the standard error of ``skew`` if each residual had either sign with equal chance.
    """

    mean: Floats
    se: Floats
    skew: Floats
    skew_noise: Floats
    df: int


def moments(data: ClusterSums) -> Moments:
    """Cluster-robust moments: residual sums per cluster, factor G / (G - 1), G - 1 degrees of freedom.

    With one unit a cluster the standard error is the textbook s / sqrt(n). One cluster gives an infinite one.
    Source: Liang and Zeger 1986; for evaluations Miller 2024 (arXiv 2411.00640), section 2.2.
    """
    groups, units = data.clusters, data.units
    mean = data.sums.sum(axis=-1) / units
    residuals = data.sums - data.sizes * mean[..., None]
    squares = np.square(residuals).sum(axis=-1)
    # Residuals that are only rounding must not pass for variation.
    squares = np.where(squares <= 1e-24 * np.maximum(1.0, np.square(data.sums).sum(axis=-1)), 0.0, squares)
    if groups < 2:
        return Moments(mean, np.full_like(mean, np.inf), np.zeros_like(mean), np.zeros_like(mean), 1)
    se = np.sqrt(groups / (groups - 1) * squares) / units
    cubes = np.square(residuals) * residuals
    scale = np.where(squares > 0, squares, 1.0) ** 1.5
    skew = np.where(squares > 0, cubes.sum(axis=-1) / scale, 0.0)
    noise = np.where(squares > 0, np.sqrt(np.square(cubes).sum(axis=-1)) / scale, 0.0)
    return Moments(mean, se, skew, noise, groups - 1)
