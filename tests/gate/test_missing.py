import pytest

from .builders import NEW, gate, rows

GOOD = [1] * 100


def test_errors_stay_outside_the_rate_and_are_counted(decided):
    """Two errors leave the estimate at the scored rows and appear in their own column."""
    found = decided(rows([None, "?", *[1] * 98]), gate(rule="at_least", threshold=0.5), apps=NEW).gates[0]
    assert (found.n, found.estimate, found.errors, found.unscored, found.verdict) == (98, 1.0, 1, 1, "pass")


def test_a_pass_that_errors_could_overturn_is_inconclusive(decided):
    """Four errors counted as failures would break the margin, so the gate does not pass."""
    verdict = decided(rows([None] * 4 + [1] * 96, GOOD), gate())
    assert verdict.gates[0].verdict == "inconclusive"
    assert "the answer depends on 4 errors" in verdict.gates[0].reason
    assert verdict.next_action == "repair what caused 4 errors in gate support/keep, then re-run"


def test_a_fail_that_errors_could_overturn_is_inconclusive(decided):
    """A level that fails on the scored rows, but not if the unscored ones were right, is undecided."""
    values = ["?"] * 9 + [0] * 27 + [1] * 64
    rule = gate(rule="at_least", threshold=0.8, max_unscored=0.1)
    assert decided(rows(values[9:]), rule, apps=NEW).gates[0].verdict == "fail"
    assert decided(rows(values), rule, apps=NEW).gates[0].verdict == "inconclusive"


def test_a_fail_that_survives_the_best_case_stays(decided):
    """Errors do not hide a failure that is proven whatever they would have been."""
    assert decided(rows([None] * 4 + [0] * 40 + [1] * 56, GOOD), gate()).gates[0].verdict == "fail"


@pytest.mark.parametrize("variant", ["candidate", "baseline"])
def test_too_many_rows_without_a_value_decide_nothing(decided, variant):
    """Above the gate's limit the verdict is inconclusive, in whichever arm the rows were lost."""
    arms = {"candidate": GOOD, "baseline": GOOD} | {variant: [None] * 20 + [1] * 80}
    found = decided(rows(**arms), gate()).gates[0]
    assert found.verdict == "inconclusive"
    assert found.reason == "20 errors among 200 rows: more than the 5 % allowed (timeout)"


def test_cases_that_only_one_arm_has_are_errors(decided):
    """A case that the candidate lost counts as an error for each of its rows."""
    found = decided(rows([[1, 1]] * 97, [[1, 1]] * 100), gate()).gates[0]
    assert (found.errors, found.n) == (6, 97)


def test_an_open_range_cannot_bound_an_error(decided):
    """One lost latency could be any: a mean without an upper end does not pass, a quantile does."""
    values = [None, *[float(100 + index % 7) for index in range(99)]]
    shape = {"metric": "ms", "rule": "at_most", "threshold": 150.0, "maximum": None}
    mean = decided(rows(values, metric="ms"), gate(**shape), apps=NEW).gates[0]
    median = decided(rows(values, metric="ms"), gate(**shape, statistic="quantile", quantile=0.5), apps=NEW).gates[0]
    assert (mean.verdict, median.verdict) == ("inconclusive", "pass")


def test_nan_is_not_a_score(decided):
    """A value that is not a number counts as unscored."""
    found = decided(rows([float("nan"), *[1] * 99]), gate(rule="at_least", threshold=0.5), apps=NEW).gates[0]
    assert (found.unscored, found.n) == (1, 99)


def test_equal_values_of_an_open_range_prove_nothing(decided):
    """No change in a metric without a range says nothing about cases not seen."""
    found = decided(rows([0.0] * 80, [0.0] * 80), gate(minimum=None, maximum=None)).gates[0]
    assert (found.verdict, found.low, found.high) == ("inconclusive", None, None)
    assert "give minimum and maximum" in found.reason
