import numpy as np
import pytest

from harness.stats import Arm, bca_bounds, quantile, quantile_difference, row_quantile


def test_order_statistics_cover_at_least_as_often_as_they_say():
    """For independent rows each exact bound of the 90th percentile holds in at least 95 % of samples."""
    generator = np.random.default_rng(1)
    truth = np.log(10.0)
    found = [quantile(generator.exponential(1, 120), 0.9) for _ in range(1500)]
    assert np.mean([f.low(0.95) <= truth for f in found]) >= 0.94
    assert np.mean([f.high(0.95) >= truth for f in found]) >= 0.94


@pytest.mark.parametrize(("n", "bounded"), [(58, False), (59, True)])
def test_p95_needs_59_rows_for_an_upper_bound(n, bounded):
    """The largest of n values bounds the 95th percentile with 95 % confidence from n = 59 on."""
    assert np.isfinite(quantile(np.arange(float(n)), 0.95).high(0.95)) == bounded


def test_p_values_of_a_quantile_are_binomial():
    """A median is proven above a bound when too few values lie at or below it."""
    found = quantile(np.arange(1.0, 21.0), 0.5)
    assert found.p_above(5.0) == pytest.approx(0.0207, abs=1e-4)
    assert found.p_below(16.0) == pytest.approx(0.0207, abs=1e-4)


def test_rows_of_one_cluster_count_for_less():
    """Rows that repeat their cluster's value give a wider interval than independent rows."""
    values = np.repeat(np.random.default_rng(2).exponential(1, 40), 10)
    clustered = quantile(values, 0.5, np.repeat(np.arange(40), 10))
    alone = quantile(values, 0.5)
    assert clustered.low(0.95) < alone.low(0.95)
    assert clustered.high(0.95) > alone.high(0.95)


def test_quantile_difference_covers_the_truth():
    """The one-sided bounds of a shift of the median hold in about 95 % of clustered samples."""
    generator = np.random.default_rng(3)
    codes = np.repeat(np.arange(40), 5)
    hits = []
    for _ in range(150):
        shared = generator.normal(0, 1, 40)[codes]
        arms = [Arm(shared + generator.normal(shift, 1, 200), codes) for shift in (0.2, 0.0)]
        found = quantile_difference(*arms, 0.5, resamples=150, seed=1)
        hits.append([found.low(0.95) <= 0.2, found.high(0.95) >= 0.2])
    assert np.mean(hits, axis=0) == pytest.approx([0.95, 0.95], abs=0.04)


def test_quantile_difference_is_the_same_for_the_same_seed():
    """Two calls with one seed give one interval."""
    generator = np.random.default_rng(4)
    arms = [Arm(generator.gamma(2, 1, 80), np.arange(80)) for _ in range(2)]
    bounds = [quantile_difference(*arms, 0.5, seed=7).low(0.95) for _ in range(2)]
    assert bounds[0] == bounds[1]


def test_values_that_never_vary_leave_the_difference_unbounded():
    """A bootstrap that always gives one number is not taken for certainty."""
    arm = Arm(np.full(100, 3.0), np.arange(100))
    found = quantile_difference(arm, arm, 0.5)
    assert (found.low(0.95), found.high(0.95), found.p_below(0.0)) == (-np.inf, np.inf, 1.0)


def test_bca_agrees_with_scipy():
    """Bounds of a skewed mean and of a median are scipy's up to the noise of the resamples."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(5).exponential(1, 60)
    theirs = bootstrap((values,), np.mean, confidence_level=0.9, n_resamples=5000, random_state=0).confidence_interval
    assert bca_bounds(values, resamples=5000) == pytest.approx(tuple(theirs), abs=0.02)
    low, high = bca_bounds(values, row_quantile(0.5))
    assert low < np.median(values) < high


def test_bca_of_a_constant_is_unbounded():
    """Equal values give no interval of width 0."""
    assert bca_bounds(np.ones(20)) == (-np.inf, np.inf)
