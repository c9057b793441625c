import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from harness.stats import clopper_pearson, rate, wilson

COUNTS = [(0, 30), (1, 30), (17, 40), (299, 300), (50, 50)]


@pytest.mark.parametrize(("successes", "n"), COUNTS)
@pytest.mark.parametrize(("ours", "theirs"), [(wilson, "wilson"), (clopper_pearson, "beta")])
def test_bounds_agree_with_statsmodels(successes, n, ours, theirs):
    """Two one-sided 95 % bounds are statsmodels' two-sided 90 % interval."""
    assert ours(successes, n, 0.95) == pytest.approx(proportion_confint(successes, n, alpha=0.1, method=theirs))


def test_no_failure_in_299_attempts_proves_one_percent():
    """The exact upper bound falls to 1 % at 299 clean attempts and not at 298."""
    clean = [rate(np.zeros(n)).high(0.95) for n in (298, 299)]
    assert clean[0] > 0.01 >= clean[1]


def test_repeats_of_a_case_are_not_further_attempts_when_nothing_varies():
    """A hundred clean cases of three repeats bound the rate no better than a hundred clean attempts."""
    assert rate(np.zeros(100), rows=300).high(0.95) == pytest.approx(rate(np.zeros(100)).high(0.95))


def test_clustered_attempts_have_a_wider_interval():
    """Attempts that succeed or fail by whole clusters count for fewer attempts."""
    outcomes = np.repeat(np.tile([0.0, 1.0], 10), 10)
    clustered = rate(outcomes, np.repeat(np.arange(20), 10))
    assert clustered.low(0.95) < rate(outcomes).low(0.95) - 0.05
    assert clustered.high(0.95) > rate(outcomes).high(0.95) + 0.05


def test_p_value_agrees_with_the_bound():
    """At its own one-sided bound the exact p-value is the error probability, and at an open end it decides fully."""
    found = rate(np.r_[np.ones(45), np.zeros(5)])
    assert found.p_above(float(found.low(0.95))) == pytest.approx(0.05)
    assert found.p_below(float(found.high(0.98))) == pytest.approx(0.02)
    assert found.p_above(0.0) == 0.0
    assert found.p_above(1.0) == 1.0
