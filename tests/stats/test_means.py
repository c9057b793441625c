import numpy as np
import pytest
from scipy.stats import ttest_1samp
from statsmodels.regression.linear_model import OLS

from harness.stats import StudentT, cluster_sums, mean, moments, paired_mean


def test_singletons_give_the_textbook_t_test():
    """With one case a cluster, uncorrected, p-value and bounds are those of the one-sample t-test."""
    values = np.random.default_rng(1).normal(0.3, 1, 40)
    ours, theirs = StudentT(moments(cluster_sums(values)), corrected=False), ttest_1samp(values, 0.1)
    low, high = theirs.confidence_interval(0.9)
    assert [ours.low(0.95), ours.high(0.95)] == pytest.approx([low, high])
    assert 2 * ours.p_above(0.1) == pytest.approx(theirs.pvalue)
    assert ours.p_below(0.1) == pytest.approx(1 - theirs.pvalue / 2)


def test_clustered_error_agrees_with_statsmodels():
    """The standard error is that of an intercept with cluster-robust covariance."""
    generator = np.random.default_rng(2)
    codes = generator.integers(0, 12, 90)
    values = generator.normal(0, 1, 12)[codes] + generator.normal(0, 1, 90)
    fit = OLS(values, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    # statsmodels also multiplies the variance by (n - 1) / (n - 1) for one column: the factors agree.
    assert moments(cluster_sums(values, codes)).se == pytest.approx(fit.bse[0])


def test_correction_undoes_itself():
    """The corrected p-value at a corrected bound is the error probability of that bound."""
    values = np.random.default_rng(3).exponential(1, 80) ** 1.5
    found = StudentT(moments(cluster_sums(values)))
    for level in (0.9, 0.95, 0.999):
        assert found.p_above(float(found.low(level))) == pytest.approx(1 - level)
        assert found.p_below(float(found.high(level))) == pytest.approx(1 - level)


def test_correction_vanishes_without_skewness():
    """Symmetric data keep the plain t interval."""
    values = np.r_[np.arange(20), -np.arange(20)] / 20.0
    both = [StudentT(moments(cluster_sums(values)), corrected=flag).low(0.95) for flag in (True, False)]
    assert both[0] == pytest.approx(both[1])


@pytest.mark.parametrize("drop", [0.0, 0.05, 0.1])
def test_interval_covers_the_truth_as_often_as_it_says(drop):
    """Each one-sided 95 % bound holds in 95 +- 1.5 % of samples from a bimodal suite with broken cases."""
    generator = np.random.default_rng(4)
    before = generator.beta(1.6, 0.28, (4000, 200))
    after = np.where(generator.random(before.shape) < drop * 1.88 / 1.6, 0, before)
    found = paired_mean((generator.binomial(3, after) - generator.binomial(3, before)) / 3)
    assert (found.low(0.95) <= -drop).mean() == pytest.approx(0.95, abs=0.015)
    assert (found.high(0.95) >= -drop).mean() == pytest.approx(0.95, abs=0.015)


def test_clusters_keep_their_error_rate_where_a_naive_test_does_not():
    """Twenty clusters of ten with a shared effect: the clustered test rejects a true null in at most 5 %."""
    generator = np.random.default_rng(5)
    codes = np.repeat(np.arange(20), 10)
    shared = generator.choice([-0.2, 0.2], (4000, 20))[:, codes]
    differences = shared + generator.normal(0, 0.3, shared.shape)
    clustered = paired_mean(differences, codes, extent=2.0).p_below(0.0)
    naive = paired_mean(differences, extent=2.0).p_below(0.0)
    assert 0.02 <= (clustered <= 0.05).mean() <= 0.06
    assert (naive <= 0.05).mean() > 0.1


@pytest.mark.parametrize("n", [2, 10, 51])
def test_no_change_never_gives_a_narrow_interval(n):
    """Without any change the interval keeps the width that the score test gives it."""
    found = paired_mean(np.zeros(n))
    assert found.low(0.95) <= -0.05
    assert found.high(0.95) >= 0.05


def test_few_changed_clusters_widen_the_interval_to_the_score_one():
    """Three graded changes among 40 cases are bounded as if each were over the full range."""
    differences = np.zeros(40)
    differences[:3] = -0.1, -0.2, 0.1
    plain = StudentT(moments(cluster_sums(differences)))
    assert paired_mean(differences).low(0.95) < plain.low(0.95) - 0.05


def test_units_scale_the_paired_interval():
    """Differences of a score from 0 to 10 give ten times the bounds of the same shares."""
    differences = np.r_[np.zeros(50), -np.ones(3), np.ones(2)]
    assert paired_mean(10 * differences, extent=10.0).low(0.95) == pytest.approx(
        10 * paired_mean(differences).low(0.95)
    )


@pytest.mark.parametrize("value", [0.0, 0.7, 1.0])
def test_a_mean_of_equal_values_keeps_a_width(value):
    """Thirty equal values do not prove that the mean is exactly this."""
    found = mean(np.full(30, value))
    assert found.high(0.95) - found.low(0.95) > 0.05
    assert found.low(0.95) <= value <= found.high(0.95)


def test_one_cluster_is_unbounded():
    """A single cluster tells nothing about others."""
    found = StudentT(moments(cluster_sums(np.array([0.1, 0.4, 0.2]), np.zeros(3, dtype=int))))
    assert found.low(0.95) == -np.inf
    assert found.high(0.95) == np.inf
