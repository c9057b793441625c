import pytest

from harness.gate import NEVER, minimum_cases

from .builders import NEW, gate, rows

LEVELS = [
    gate(rule="at_least", threshold=0.9),
    gate(rule="at_least", threshold=0.9, statistic="rate"),
    gate(rule="at_most", threshold=0.03),
    gate(rule="at_most", threshold=0.05, statistic="rate", confidence=0.99),
]


def best(rule, n):
    return [1.0 if rule.rule == "at_least" else 0.0] * n


@pytest.mark.parametrize("rule", LEVELS)
def test_a_level_passes_from_the_minimum_on(decided, rule):
    """A perfect result passes with the minimum number of cases and not with one fewer."""
    n = minimum_cases(rule)
    verdicts = [decided(rows(best(rule, count)), rule, apps=NEW).verdict for count in (n - 1, n)]
    assert verdicts == ["inconclusive", "pass"]


@pytest.mark.parametrize("margin", [0.03, 0.05, 0.1])
def test_a_margin_passes_from_the_minimum_on(decided, margin):
    """No change passes with the minimum number of cases and not with one fewer."""
    rule = gate(threshold=margin)
    n = minimum_cases(rule)
    assert [decided(rows([1] * k, [1] * k), rule).verdict for k in (n - 1, n)] == ["inconclusive", "pass"]


@pytest.mark.parametrize("rule", ["no_worse_than_baseline_by", "better_than_baseline_by"])
@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_a_gain_passes_from_the_minimum_on(decided, rule, margin):
    """Improvement in every case proves a gain (or no loss at all) with the minimum number and not with one fewer."""
    if rule.startswith("no_worse") and margin:
        pytest.skip("a margin is kept by no change")
    tested = gate(rule=rule, threshold=margin)
    n = minimum_cases(tested)
    assert [decided(rows([1] * k, [0] * k), tested).verdict == "pass" for k in (n - 1, n)] == [False, True]


@pytest.mark.parametrize("rule", ["at_least", "at_most"])
def test_a_quantile_is_bounded_from_the_minimum_on(decided, rule):
    """The order statistic that bounds a 90th percentile exists from the minimum number of rows on."""
    threshold = -1.0 if rule == "at_least" else 1e6
    tested = gate(rule=rule, threshold=threshold, statistic="quantile", quantile=0.9)
    n = minimum_cases(tested)
    outcomes = [decided(rows([float(v) for v in range(k)]), tested, apps=NEW).verdict for k in (max(n - 1, 1), n)]
    assert outcomes == ["inconclusive", "pass"]


def test_the_best_value_itself_can_never_be_proven():
    """At least 100 % is out of reach of any sample."""
    assert minimum_cases(gate(rule="at_least", threshold=1.0)) == NEVER
    assert minimum_cases(gate(rule="better_than_baseline_by", threshold=1.0)) == NEVER


def test_five_points_need_52_cases():
    """The number that the documentation states."""
    assert minimum_cases(gate()) == 52
