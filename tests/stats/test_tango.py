import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from harness.stats import mcnemar_p, tango_bound, tango_score

TABLES = [(0, 0, 30), (3, 8, 60), (12, 2, 50), (0, 9, 200), (25, 0, 25), (1, 40, 300)]


def likelihood_score(b, c, n, delta):
    """Tango's statistic by brute force: the lost rate that maximises the trinomial likelihood, then the score."""

    def loss(q):
        terms = ((b, q + delta), (c, q), (n - b - c, 1 - 2 * q - delta))
        return -sum(k * np.log(max(p, 1e-300)) for k, p in terms if k)

    ends = (max(0.0, -delta), (1 - delta) / 2)
    q = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-13}).x
    return (b - c - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("b", "c", "n"), TABLES)
@pytest.mark.parametrize("delta", [-0.3, -0.05, 0.02, 0.4])
def test_score_is_the_constrained_maximum_likelihood_one(b, c, n, delta):
    """The closed form equals a numerical maximisation of the likelihood."""
    assert tango_score(b, c, n, delta) == pytest.approx(likelihood_score(b, c, n, delta), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("b", "c", "n"), TABLES)
@pytest.mark.parametrize("confidence", [0.95, 0.998])
def test_score_at_each_bound_is_the_critical_value(b, c, n, confidence):
    """Inverting the test means that the statistic at a bound inside (-1, 1) is the normal quantile."""
    z = norm.ppf(confidence)
    low = float(tango_bound(b, c, n, confidence, upper=False))
    high = float(tango_bound(b, c, n, confidence, upper=True))
    assert -1 <= low < (b - c) / n or low == -1
    assert low < high
    assert low == -1 or tango_score(b, c, n, low) == pytest.approx(z, abs=1e-6)
    assert high == 1 or tango_score(b, c, n, high) == pytest.approx(-z, abs=1e-6)


@pytest.mark.parametrize(("n", "proven"), [(51, False), (52, True)])
def test_no_change_proves_five_points_from_52_cases(n, proven):
    """Without any discordant pair the lower bound passes -5 points at 52 cases, not before."""
    assert (float(tango_bound(0, 0, n, 0.95, upper=False)) > -0.05) is proven


def test_bounds_of_many_tables_come_at_once():
    """Arrays of tables give the bounds of each table."""
    b, c, n = (np.array(column) for column in zip(*TABLES, strict=True))
    together = tango_bound(b, c, n, 0.95, upper=True)
    assert together == pytest.approx([float(tango_bound(*table, 0.95, upper=True)) for table in TABLES])


@pytest.mark.parametrize(("worse", "better"), [(5, 0), (9, 2), (14, 6), (30, 12)])
def test_mcnemar_is_half_of_the_two_sided_exact_test(worse, better):
    """The one-sided p-value is half of statsmodels' exact two-sided one."""
    theirs = mcnemar([[0, worse], [better, 0]], exact=True).pvalue
    assert 2 * mcnemar_p(worse, better) == pytest.approx(theirs)


def test_mcnemar_without_discordant_pairs_rejects_nothing():
    """No change is no evidence."""
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(0, 7) == 1
