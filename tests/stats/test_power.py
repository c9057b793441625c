import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from harness.stats import Looks, cases_needed, detectable_difference, holm, power_of_mean, repeats_needed


@pytest.mark.parametrize(("distance", "n"), [(0.2, 50), (0.1, 300), (0.5, 12)])
def test_power_agrees_with_statsmodels(distance, n):
    """The power of the one-sided t-test is statsmodels'."""
    theirs = TTestPower().power(distance / 0.6, n, 0.05, alternative="larger")
    assert power_of_mean(distance, 0.6, n) == pytest.approx(theirs, abs=1e-6)


def test_cases_needed_reaches_the_power_and_hardly_more():
    """The number found has 80 % power, and a number 2 % smaller has not."""
    n = int(cases_needed(0.05, 0.3))
    assert power_of_mean(0.05, 0.3, n) >= 0.8 > power_of_mean(0.05, 0.3, int(0.98 * n))


@pytest.mark.parametrize(("distance", "sd", "n"), [(0.0, 1.0, math.inf), (-1.0, 1.0, math.inf), (0.1, 0.0, 2)])
def test_cases_needed_at_the_edges(distance, sd, n):
    """No distance needs infinitely many cases, no variance needs two."""
    assert cases_needed(distance, sd) == n


def test_detectable_difference_has_the_power_it_says():
    """A truth at the detectable distance is proven with 80 % power."""
    assert power_of_mean(detectable_difference(0.5 / math.sqrt(100), 99), 0.5, 100) == pytest.approx(0.8, abs=0.005)


def test_repeats_help_only_against_noise_within_cases():
    """Repeats reach a smaller error while cases themselves do not vary too much, else no number does."""
    assert repeats_needed(0.01, 0.0, 0.06, 200) == 3
    assert repeats_needed(0.01, 0.03, 0.06, 200) == math.inf


def test_holm_agrees_with_statsmodels():
    """Adjusted p-values are statsmodels', in the order given and along the last axis."""
    p_values = np.random.default_rng(1).random((5, 9)) ** 3
    theirs = [multipletests(row, method="holm")[1] for row in p_values]
    assert holm(p_values) == pytest.approx(np.array(theirs))


@pytest.mark.parametrize("spending", ["pocock", "obrien_fleming"])
@pytest.mark.parametrize("planned", [1, 2, 3])
def test_looks_spend_all_of_alpha_and_no_more(planned, spending):
    """The parts are positive and sum to the error probability."""
    looks = Looks(planned, spending)
    parts = [looks.spent(0.05, look) for look in range(1, planned + 1)]
    assert sum(parts) == pytest.approx(0.05)
    assert min(parts) > 0


def test_obrien_fleming_spends_late():
    """The first of three looks may use hardly anything, as the published boundary 3.39 standard errors says."""
    assert Looks(3, "obrien_fleming").spent(0.05, 1) == pytest.approx(2 * 0.000344, rel=0.01)


@pytest.mark.parametrize("planned", [0, 4])
def test_more_than_three_looks_are_refused(planned):
    """A plan is one to three looks."""
    with pytest.raises(ValueError, match="looks planned"):
        Looks(planned)


def test_a_look_beyond_the_plan_is_refused():
    """Nobody looks once more than planned."""
    with pytest.raises(ValueError, match="look 3 of 2"):
        Looks(2).spent(0.05, 3)
