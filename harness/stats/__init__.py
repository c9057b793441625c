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
from harness.stats.sequential import MeanSequence, effect_scores, effect_sequence, mean_sequence, tuned_rho
from harness.stats.student import StudentT
from harness.stats.tango import PairedScore, mcnemar_p, tango_bound, tango_score
from harness.stats.two_samples import Shift, binned_shift, classifier_shift, independence, sample_ratio, stability_index

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
    "MeanSequence",
    "Mirrored",
    "Moments",
    "OrderStatistic",
    "PairedScore",
    "QuantileDifference",
    "ScoreRate",
    "Shift",
    "StudentT",
    "Unknown",
    "auc",
    "bca_bounds",
    "binned_shift",
    "cases_needed",
    "classifier_shift",
    "clopper_pearson",
    "cluster_sums",
    "cohens_kappa",
    "confusion_matrix",
    "detectable_difference",
    "effect_scores",
    "effect_sequence",
    "empirical_quantile",
    "holm",
    "independence",
    "mcnemar_p",
    "mean",
    "mean_sequence",
    "moments",
    "paired_mean",
    "power_of_mean",
    "quantile",
    "quantile_difference",
    "rate",
    "repeats_needed",
    "row_mean",
    "row_quantile",
    "sample_ratio",
    "stability_index",
    "tango_bound",
    "tango_score",
    "tuned_rho",
    "wilson",
]
