"""Intervals, paired and clustered comparisons, corrections, power: pure functions over arrays."""

from harness.stats.agreement import Kappa, auc, cohens_kappa, confusion_matrix
from harness.stats.bootstrap import bca_bounds, row_mean, row_quantile
from harness.stats.clusters import ClusterSums, Moments, cluster_sums, moments
from harness.stats.holm import holm
from harness.stats.inference import Guarded, Inference, Mirrored, Unknown
from harness.stats.looks import MOST_LOOKS, Looks
from harness.stats.means import FEW_CHANGED, mean, paired_mean, rate
from harness.stats.power import cases_needed, detectable_difference, power_of_mean, repeats_needed
from harness.stats.quantiles import (
    Arm,
    OrderStatistic,
    QuantileDifference,
    empirical_quantile,
    quantile,
    quantile_difference,
)
from harness.stats.rates import ExactRate, ScoreRate, clopper_pearson, wilson
from harness.stats.student import StudentT
from harness.stats.tango import PairedScore, mcnemar_p, tango_bound, tango_score

__all__ = [
    "FEW_CHANGED",
    "MOST_LOOKS",
    "Arm",
    "ClusterSums",
    "ExactRate",
    "Guarded",
    "Inference",
    "Kappa",
    "Looks",
    "Mirrored",
    "Moments",
    "OrderStatistic",
    "PairedScore",
    "QuantileDifference",
    "ScoreRate",
    "StudentT",
    "Unknown",
    "auc",
    "bca_bounds",
    "cases_needed",
    "clopper_pearson",
    "cluster_sums",
    "cohens_kappa",
    "confusion_matrix",
    "detectable_difference",
    "empirical_quantile",
    "holm",
    "mcnemar_p",
    "mean",
    "moments",
    "paired_mean",
    "power_of_mean",
    "quantile",
    "quantile_difference",
    "rate",
    "repeats_needed",
    "row_mean",
    "row_quantile",
    "tango_bound",
    "tango_score",
    "wilson",
]
