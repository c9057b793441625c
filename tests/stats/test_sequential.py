"""Confidence sequences: right at every look at once, and the scores of a randomised experiment."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from harness.stats.sequential import (
    PSEUDO,
    MeanSequence,
    effect_scores,
    effect_sequence,
    mean_sequence,
    tuned_rho,
)


def unit_margins(count, rho, confidence):
    """The margin after each of ``count`` units for one standard deviation: checked against the class below."""
    n = np.arange(1, count + 1)
    grown = n * rho**2 + 1
    return np.sqrt(2 * grown / (n * rho) ** 2 * np.log1p(np.sqrt(grown) / (2 * (1 - confidence))))


def spreads(scores, outcomes, treated, share):
    """The standard deviation that ``effect_sequence`` uses after each user: also checked below."""
    n = np.arange(1, scores.size + 1)
    means = np.cumsum(scores) / n
    own = np.sqrt(np.maximum(0, np.cumsum(scores**2) - n * means**2) / np.maximum(1, n - 1))
    variance = 0.0
    for arm, part in ((treated, share), (~treated, 1 - share)):
        count = np.cumsum(arm) + 2 * PSEUDO
        centre = (np.cumsum(outcomes * arm) + PSEUDO) / count
        variance = variance + ((np.cumsum(outcomes**2 * arm) + PSEUDO) / count - centre**2) / part
    return means, np.maximum(own, np.sqrt(variance))


@pytest.mark.parametrize(
    ("rate", "effect", "share"),
    [(0.8, 0.0, 0.5), (0.95, 0.0, 0.1), (0.97, 0.02, 0.05), (0.99, 0.0, 0.1), (0.3, -0.1, 0.5)],
)
def test_whoever_looks_after_every_user_is_wrong_as_rarely_as_promised(rate, effect, share):
    """One-sided 95 % bounds of an effect, looked at after every user from 100 in each arm on, are wrong in at most 5 %
    of experiments plus Monte-Carlo error: common and rare failures, even and lopsided arms."""
    generator = np.random.default_rng(1)
    samples, minimum = 2000, 100
    users = int(4 * minimum / share)
    margins = unit_margins(users, tuned_rho(2 * minimum, 0.1), 0.95)
    wrong = np.zeros(2)
    for _ in range(samples):
        treated = generator.random(users) < share
        outcomes = (generator.random(users) < rate + effect * treated).astype(float)
        means, spread = spreads(effect_scores(outcomes, treated, share), outcomes, treated, share)
        looked = np.minimum(np.cumsum(treated), np.cumsum(~treated)) >= minimum
        above, below = means - spread * margins > effect, means + spread * margins < effect
        wrong += [above[looked].any(), below[looked].any()]
    assert max(wrong / samples) <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / samples)


def test_an_arm_without_a_failure_is_not_taken_for_faultless():
    """With no failure among 200 users of an arm the bounds are as wide as a few failures would make them."""
    treated = np.arange(2000) % 10 == 0
    found = effect_sequence(np.ones(2000), treated, 0.1, tuned_for=1000)
    assert 0.01 < found.high(0.95) - found.mean < 0.2


def test_one_look_intervals_would_not_do():
    """The same looks with the usual interval are wrong in far more than 5 %: the test above can fail."""
    generator = np.random.default_rng(2)
    scores = generator.normal(0, 1, (500, 3000))
    n = np.arange(1, 3001)
    usual = np.cumsum(scores, axis=1) / n - norm.ppf(0.95) / np.sqrt(n)
    assert (usual[:, 499:] > 0).any(axis=1).mean() > 0.15


def test_class_and_simulation_use_one_margin():
    """The bounds of the class are those that were simulated."""
    generator = np.random.default_rng(3)
    treated = generator.random(400) < 0.3
    outcomes = generator.random(400)
    found = effect_sequence(outcomes, treated, 0.3, tuned_for=1000)
    means, spread = spreads(effect_scores(outcomes, treated, 0.3), outcomes, treated, 0.3)
    assert found.mean == pytest.approx(means[-1])
    assert found.mean - found.low(0.95) == pytest.approx(spread[-1] * unit_margins(400, found.rho, 0.95)[-1])
    assert found.high(0.95) - found.mean == pytest.approx(found.mean - found.low(0.95))


@pytest.mark.parametrize(("n", "rho", "alpha"), [(100, 0.05, 0.05), (1000, 0.1, 0.01), (20_000, 0.02, 0.2)])
def test_boundary_is_that_of_the_half_normal_mixture(n, rho, alpha):
    """At the bound, the mixture of exponential martingales over half-normal slopes has just reached 1 / alpha.

    Ville's inequality then gives the promise (Howard et al. 2021); the mixture is integrated numerically here.
    """
    total = n * (0.0 - float(MeanSequence(0.0, 1.0, n, rho).low(1 - alpha)))
    scale = total**2 / (2 * (n + 1 / rho**2))

    def inner(slope):
        return 2 * norm.pdf(slope, 0, rho) * np.exp(slope * total - slope**2 * n / 2 - scale)

    peak = total / (n + 1 / rho**2)
    mixture = quad(inner, 0, peak * 12, points=[peak], limit=400)[0] * np.exp(scale)
    assert 1 / alpha <= mixture <= 1.2 / alpha


def test_p_value_is_the_level_of_the_bound():
    """The always-valid p-value against a bound is the alpha whose bound it is."""
    found = MeanSequence(0.3, 1.2, 500, 0.08)
    for confidence in (0.8, 0.95, 0.999):
        assert found.p_above(float(found.low(confidence))) == pytest.approx(1 - confidence)
        assert found.p_below(float(found.high(confidence))) == pytest.approx(1 - confidence)
    assert found.p_above(0.4) == 1.0
    assert MeanSequence(5.0, 0.1, 10_000, 0.1).p_above(0.0) == 0.0


def test_no_variation_bounds_nothing():
    """Outcomes that never varied, one outcome, and none at all give infinite bounds and no evidence."""
    for scores in ([0.0] * 50, [1.0], []):
        found = mean_sequence(scores, tuned_for=100)
        assert (found.low(0.95), found.high(0.95)) == (-np.inf, np.inf) or np.isnan(found.mean)
        assert found.p_above(-1.0) == 1.0


def test_scores_are_unbiased_whatever_the_share():
    """The mean score is the effect on average, also in a lopsided experiment."""
    generator = np.random.default_rng(4)
    means = []
    for _ in range(400):
        treated = generator.random(800) < 0.1
        outcomes = (generator.random(800) < 0.6 + 0.1 * treated).astype(float)
        means.append(effect_scores(outcomes, treated, 0.1).mean())
    assert np.mean(means) == pytest.approx(0.1, abs=3 * np.std(means) / 20)


def test_scores_use_earlier_users_only():
    """What a user did changes no score before it: the errors stay a martingale."""
    generator = np.random.default_rng(5)
    treated = generator.random(100) < 0.5
    outcomes = generator.random(100)
    before = effect_scores(outcomes, treated, 0.5)
    outcomes[60] = 1 - outcomes[60]
    changed = np.flatnonzero(~np.isclose(before, effect_scores(outcomes, treated, 0.5)))
    assert changed.min() == 60


def test_tuning_makes_the_sequence_narrowest_where_asked():
    """The two-sided width after the tuned number of units is within a per cent of the best rho's."""
    for n in (200, 5000):
        grid = np.geomspace(0.1, 10, 400) * tuned_rho(n, 0.1)
        grown = n * grid**2 + 1
        widths = np.sqrt(2 * grown / (n * grid) ** 2 * np.log(np.sqrt(grown) / 0.1))
        tuned = n * tuned_rho(n, 0.1) ** 2 + 1
        mine = np.sqrt(2 * tuned / (n * tuned_rho(n, 0.1)) ** 2 * np.log(np.sqrt(tuned) / 0.1))
        assert mine == pytest.approx(widths.min(), rel=0.01)
