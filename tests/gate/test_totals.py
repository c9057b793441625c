"""Totals: what is counted in full passes and fails exactly."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.gate import decide, minimum_cases
from harness.gate.decide import Options
from harness.spec.measurement import Measurement

from .builders import CHANGED, NEW, gate, rows


def total(**fields):
    """At most none of the metric."""
    return gate(**({"id": "none", "rule": "at_most", "threshold": 0, "statistic": "total"} | fields))


@pytest.mark.parametrize(
    ("values", "said"), [([0] * 50, "pass"), ([0] * 49 + [1], "fail"), ([0], "pass"), ([1], "fail")]
)
def test_none_is_none(decided, values, said):
    """It passes at 0 and fails at 1, whatever the number of rows; nothing is estimated."""
    (found,) = decided(rows(values), total(), apps=NEW).gates
    assert (found.verdict, found.estimate, found.n) == (said, sum(values), len(values))
    assert (found.p_value, found.p_adjusted, found.method) == (None, None, "total")
    assert (found.low, found.high) == (found.estimate, found.estimate)


@pytest.mark.parametrize(
    ("rule", "threshold", "values", "said"),
    [
        ("at_least", 3, [1, 1, 1], "pass"),
        ("at_least", 3, [1, 1, 0.5], "fail"),
        ("at_most", 1, [0.1] * 10, "pass"),
        ("at_least", 1, [0.1] * 10, "pass"),
        ("at_most", 2, [[1, 1], [0, 1]], "fail"),
    ],
)
def test_it_is_the_sum_of_all_rows(decided, rule, threshold, values, said):
    """Repeats count as rows of their own; tenths add up to one."""
    assert decided(rows(values), total(rule=rule, threshold=threshold), apps=NEW).verdict == said


@pytest.mark.parametrize(
    ("values", "threshold", "said"),
    [
        ([0, 0, None], 0, "inconclusive"),
        ([0, 0, "?"], 0, "inconclusive"),
        ([0, 0, "?"], 1, "pass"),
        ([1, 0, "?"], 0, "fail"),
    ],
)
def test_rows_without_a_value_are_taken_at_their_worst_and_best(decided, values, threshold, said):
    """Unknown passes only where it cannot matter, and never hides a fail."""
    (found,) = decided(rows(values), total(threshold=threshold), apps=NEW).gates
    assert found.verdict == said
    assert found.errors + found.unscored == 1
    assert "not known (timeout)" in found.reason


def test_an_open_range_keeps_unknown_rows_undecided(decided):
    """Where a row may be anything, one that is lost decides nothing."""
    assert decided(rows([0, "?"]), total(threshold=5, maximum=None), apps=NEW).verdict == "inconclusive"
    assert decided(rows([9, "?"]), total(threshold=5, maximum=None), apps=NEW).verdict == "fail"


def test_no_row_is_no_pass(decided):
    """Nothing counted is not a count of nothing."""
    assert decided(rows([0], metric="other"), total(), apps=NEW).verdict == "inconclusive"


def test_totals_take_no_part_in_holm():
    """Other gates' corrected p-values are the same with any number of totals beside them."""
    worse = [1] * 80, [1] * 80
    worse[0][:9] = [0] * 9

    def adjusted(*gates):
        table = [*rows(*worse), *rows([0] * 5, metric="none")]
        found = decide(table, {"support": gates}, profile="pr", apps=CHANGED, options=Options())
        return next(each.p_adjusted for each in found.gates if each.id == "keep")

    counted = [total(id=f"none-{number}", metric="none") for number in range(20)]
    assert adjusted(gate()) == adjusted(gate(), *counted) is not None


def test_a_counted_row_says_what_to_remove():
    """Verdict and next action name the case and what its row says; a failed total comes before other failures."""
    table = [
        Measurement("data", "support", "candidate", f"c{number}", "seen", "data.seen", float(number < 2), unit="cases",
                    reason=f"stands in row T-{number} of mart tickets" if number < 2 else "")
        for number in range(5)
    ]  # fmt: skip
    clearly_worse = rows([0] * 200, [1] * 200)
    gates = {"support": [gate(), total(id="tests-unseen", metric="data.seen")]}
    found = decide([*table, *clearly_worse], gates, profile="pr", apps=CHANGED)
    (unseen,) = [each for each in found.gates if each.id == "tests-unseen"]
    assert found.verdict == "fail"
    assert unseen.reason.startswith("2 cases of at most 0 cases (all 5 rows counted); case c0 stands in row T-0")
    assert found.next_action == (
        "remove that row or that case, or waive the pair in suites/support/waivers.yaml: "
        "case c0 stands in row T-0 of mart tickets; 1 more"
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rule": "no_worse_than_baseline_by"}, "needs rule at_least or at_most"),
        ({"rule": "better_than_baseline_by"}, "needs rule at_least or at_most"),
        ({"quantile": 0.5}, "exactly when statistic is 'quantile'"),
        ({"confidence": 0.99}, "'confidence' means nothing"),
        ({"max_unscored": 0.5}, "'max_unscored' means nothing"),
    ],
)
def test_what_a_total_cannot_be_combined_with(fields, said):
    """A comparison, a quantile and words of chance are refused when the file is read."""
    with pytest.raises(ValidationError, match=said):
        total(**fields)


def test_one_row_is_enough():
    """``check`` warns of no total for want of cases."""
    assert minimum_cases(total()) == 1
