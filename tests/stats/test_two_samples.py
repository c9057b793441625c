"""Two samples: calibrated where nothing differs, powerful where something does, and equal to other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare, mannwhitneyu
from statsmodels.stats.gof import chisquare as statsmodels_chisquare

from harness.stats.two_samples import (
    binned_shift,
    classifier_shift,
    independence,
    sample_ratio,
    stability_index,
)


def test_sample_ratio_agrees_with_scipy_and_statsmodels():
    """The p-value is that of the chi-square test against expected counts."""
    counts, shares = [480, 1530, 990], [15, 50, 35]
    expected = np.array(shares) / 100 * 3000
    assert sample_ratio(counts, shares) == pytest.approx(chisquare(counts, expected).pvalue)
    assert sample_ratio(counts, shares) == pytest.approx(statsmodels_chisquare(np.array(counts), expected)[1])


def test_independence_agrees_with_scipy():
    """The p-value is that of the uncorrected chi-square test; empty rows and columns say nothing."""
    table = [[420, 480], [80, 20], [0, 0]]
    assert independence(table) == pytest.approx(chi2_contingency(table[:2], correction=False).pvalue)
    assert independence([[10, 20], [0, 0]]) == 1.0


@pytest.mark.parametrize("shares", [(50, 50), (5, 95), (10, 20, 70)])
def test_sample_ratio_is_calibrated(shares):
    """Users who are dealt in the declared shares fail at 1 % in 1 %, and at 0.1 % in 0.1 %."""
    generator = np.random.default_rng(6)
    dealt = generator.multinomial(2000, np.array(shares) / sum(shares), size=20_000)
    p_values = np.array([sample_ratio(counts, shares) for counts in dealt])
    assert (p_values < 0.01).mean() == pytest.approx(0.01, abs=0.003)
    assert (p_values < 0.001).mean() == pytest.approx(0.001, abs=0.001)


def test_sample_ratio_finds_users_who_got_lost():
    """Losing a tenth of one arm's users is found in most experiments of 4,000."""
    generator = np.random.default_rng(7)
    dealt = generator.multinomial(4000, [0.9 / 1.9, 1 / 1.9], size=300)
    assert np.mean([sample_ratio(counts, (1, 1)) < 0.001 for counts in dealt]) > 0.4
    dealt = generator.multinomial(12_000, [0.9 / 1.9, 1 / 1.9], size=300)
    assert np.mean([sample_ratio(counts, (1, 1)) < 0.001 for counts in dealt]) > 0.97


def test_stability_index_of_known_shares():
    """For large counts it is the textbook sum; for the same shares it is 0; it is symmetric."""
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.35, 0.25])
    textbook = float(((new - old) * np.log(new / old)).sum())
    assert stability_index(old * 1e9, new * 1e9) == pytest.approx(textbook, rel=1e-6)
    assert stability_index(old * 1e3, old * 1e3) == pytest.approx(0)
    assert stability_index([5, 9, 1], [2, 2, 8]) == pytest.approx(stability_index([2, 2, 8], [5, 9, 1]))


TRAFFIC = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])


def test_binned_shift_is_calibrated():
    """Of 600 pairs of samples of one distribution, 5 % are rejected at 5 %."""
    generator = np.random.default_rng(8)
    p_values = [
        binned_shift(
            generator.multinomial(300, TRAFFIC), generator.multinomial(200, TRAFFIC), draws=199, seed=seed
        ).same_p
        for seed in range(600)
    ]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("new", [(0.2, 0.25, 0.25, 0.1, 0.1, 0.1), (0.15, 0.15, 0.2, 0.2, 0.2, 0.1)])
def test_bounds_of_the_index_cover_it(new):
    """Both one-sided 95 % bounds hold in at least 95 % less Monte-Carlo error."""
    generator = np.random.default_rng(9)
    truth = float(((np.array(new) - TRAFFIC) * np.log(np.array(new) / TRAFFIC)).sum())
    lows, highs = [], []
    for seed in range(500):
        found = binned_shift(generator.multinomial(300, TRAFFIC), generator.multinomial(300, new), draws=299, seed=seed)
        lows.append(found.low(0.95) <= truth)
        highs.append(found.high(0.95) >= truth)
    assert min(np.mean(lows), np.mean(highs)) > 0.92


def test_binned_shift_has_power():
    """A tenth of traffic in a language that was not there before is seen in samples of 200."""
    generator = np.random.default_rng(10)
    found = [
        binned_shift([294, 0, 6], generator.multinomial(200, [0.88, 0.1, 0.02]), draws=199, seed=seed)
        for seed in range(50)
    ]
    assert np.mean([each.same_p <= 0.01 and each.distance > 0.1 for each in found]) > 0.9


@pytest.mark.parametrize(("old", "new"), [([5], [9]), ([5, 0], [9, 0]), ([0, 0], [3, 4]), ([3, 4], [0, 0])])
def test_nothing_to_compare_is_no_shift(old, new):
    """One bin, or an empty sample, moves nowhere and proves nothing: few units still leave room for a shift."""
    found = binned_shift(old, new)
    assert (found.distance, found.same_p) == (0.0, 1.0)
    assert found.high(0.95) > 0.1
    assert binned_shift([400, 0], [400, 0]).high(0.95) < 0.05


def features(generator, n, m, moved=0.0):
    """Skewed counts in which the last ``m`` units differ in a few columns."""
    values = generator.poisson(1.0, (n + m, 40)).astype(float)
    values[n:, :6] += generator.poisson(moved, (m, 6)) if moved else 0.0
    return np.log1p(values), np.arange(n + m) >= n


def test_classifier_is_calibrated():
    """Of 300 pairs of samples of one distribution, 5 % are rejected at 5 %, whatever the sizes."""
    generator = np.random.default_rng(11)
    p_values = []
    for seed in range(300):
        values, flags = features(generator, 90, 60)
        p_values.append(classifier_shift(values, flags, draws=99, seed=seed).same_p)
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.09)


def test_classifier_has_power():
    """A shift in few of many columns is found, and the AUC says how plain it is."""
    generator = np.random.default_rng(12)
    found = [classifier_shift(*features(generator, 150, 150, 1.0), draws=199, seed=seed) for seed in range(20)]
    assert np.mean([each.same_p <= 0.01 for each in found]) > 0.95
    assert 0.7 < np.mean([each.distance for each in found]) < 1.0


def test_auc_is_that_of_the_rank_test():
    """With one feature, scores are monotone in it: the AUC is Mann-Whitney's U within folds."""
    generator = np.random.default_rng(13)
    values = np.r_[generator.normal(0, 1, 400), generator.normal(1, 1, 400)][:, None]
    flags = np.arange(800) >= 400
    found = classifier_shift(values, flags, draws=19)
    whole = mannwhitneyu(values[flags, 0], values[~flags, 0]).statistic / (400 * 400)
    assert found.distance == pytest.approx(whole, abs=0.01)


def test_auc_error_is_the_spread_of_aucs():
    """The standard error agrees with the spread over samples of the same two distributions."""
    generator = np.random.default_rng(14)
    found = [classifier_shift(*features(generator, 120, 120, 0.8), draws=1, seed=seed) for seed in range(120)]
    spread = np.std([each.distance for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.3)


def test_same_units_in_any_order_of_columns():
    """Constant columns change nothing, and the result is the same every time."""
    values, flags = features(np.random.default_rng(15), 60, 60, 1.0)
    wide = np.hstack([np.ones((120, 3)), values])
    one, other = (classifier_shift(each, flags, draws=49, seed=3) for each in (values, wide))
    assert (one.distance, one.same_p) == pytest.approx((other.distance, other.same_p))
