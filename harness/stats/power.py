"""Power of one-sided tests of a mean, the difference a sample can see, and the sample that a difference needs."""

from __future__ import annotations

import math

from harness.stats.distributions import noncentral_t_cdf, normal_quantile, t_quantile


def power_of_mean(distance: float, sd: float, n: int, confidence: float = 0.95) -> float:
    """The chance that a one-sided t-test of ``n`` units proves a truth ``distance`` away from the bound.

    ``distance`` (>= 0) and ``sd`` (of one unit; for paired data, of the differences) have the same units.
    """
    df = n - 1
    critical = float(t_quantile(confidence, df))
    return 1 - float(noncentral_t_cdf(critical, df, distance / sd * math.sqrt(n)))


def detectable_difference(se: float, df: int, *, confidence: float = 0.95, power: float = 0.8) -> float:
    """The smallest distance from the bound that a test with this standard error proves with this ``power``."""
    return se * float(t_quantile(confidence, df) + t_quantile(power, df))


def cases_needed(distance: float, sd: float, *, confidence: float = 0.95, power: float = 0.8) -> float:
    """The number of units with which ``power_of_mean`` reaches ``power``; infinite when ``distance`` is <= 0."""
    if distance <= 0 or math.isinf(sd):
        return math.inf
    if sd <= 0:
        return 2
    z = normal_quantile(confidence) + normal_quantile(power)
    n = max(2, math.ceil((z * sd / distance) ** 2))
    # The normal approximation falls a few units short of the t-test; the step lets the search end quickly.
    while power_of_mean(distance, sd, n, confidence) < power and n < 10_000:
        n += max(1, n // 200)
    return n


def repeats_needed(target_se: float, between: float, within: float, n: int) -> float:
    """The repeats a case with which a mean over ``n`` cases reaches ``target_se``; infinite when no number does.

    ``between`` is the variance of the case's own value (or difference), ``within`` that of one repeat around it.
    Repeats shrink only the second: n * se^2 = between + within / repeats.
    """
    room = n * target_se**2 - max(between, 0.0)
    if within <= 0:
        return 1 if room >= 0 else math.inf
    return math.inf if room <= 0 else max(1, math.ceil(within / room - 1e-9))
