"""Who may be the best: the error rate by simulation, and what missing values do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.evals import BoundCheck, bind_checks
from harness.run.model_choice.standing import frontier, stand
from harness.spec.measurement import Measurement
from harness.spec.suites import Suite
from harness.stats import mean, wilson
from tests.run.project import ROOT

Values = Mapping[str, Sequence[float]]


def check(kind: str = "equals") -> BoundCheck:
    """A check whose metric is called ``right``."""
    (bound,) = bind_checks(Suite.model_validate({"checks": [{"id": "right", "check": kind, "expect": "x"}]}), ROOT, "s")
    return bound


def rows(values: Values, group: int = 1, slices: Mapping[int, str] | None = None) -> dict[str, list[Measurement]]:
    """Rows of each candidate, ``group`` cases in each cluster."""
    return {
        name: [
            Measurement(
                "models", f"a@{name}", "candidate", f"c{n}", "right", "right", float(value),
                group=f"g{n // group}", slices=(slices[n],) if slices and n in slices else (),
            )
            for n, value in enumerate(listed)
        ]
        for name, listed in values.items()
    }  # fmt: skip


def test_the_truly_best_is_seldom_left_out() -> None:
    """Of five candidates, four of them equal and best, group 1 lacks one of these in at most 5 % of experiments.

    The four are the hardest case: any of them can be beaten by any other. Answers of one case hang together.
    """
    generator = np.random.default_rng(3)
    runs, wrong, worst_found = 400, 0, 0
    for _ in range(runs):
        easy = generator.beta(4, 1.5, size=80)
        made = {f"m{k}": (generator.random(80) < easy) for k in range(4)}
        made["bad"] = generator.random(80) < easy * 0.6
        groups = stand(rows(made), "right", check(), ()).groups
        # Each of the equal four is a best one; the promise is for any single one of them.
        wrong += "m0" not in groups[0]
        worst_found += "bad" not in groups[0]
    # 5 % of 400 is 20; 34 is beyond three standard errors above it.
    assert wrong < 34
    assert worst_found > 0.9 * runs


def test_levels_are_clustered() -> None:
    """Cases of one group count as a gate counts them."""
    generator = np.random.default_rng(5)
    values = np.repeat(generator.random(40) < 0.7, 5).astype(float)
    found = stand(rows({"a": values, "b": values}, group=5), "right", check(), ()).levels["a"]["all"]
    wanted = mean(values, np.repeat(np.arange(40), 5))
    assert (found.low, found.high) == pytest.approx((float(wanted.low(0.975)), float(wanted.high(0.975))))
    alone = wilson(values.sum(), 200, 0.975)
    assert found.high is not None and found.low is not None
    assert found.high - found.low > 1.5 * float(alone[1] - alone[0])


def test_overlapping_intervals_can_be_told_apart() -> None:
    """What all agree on says nothing of their difference: paired comparisons see through it."""
    shared = [1.0] * 100 + [0.0] * 80
    standing = stand(rows({"a": [*shared, *[1.0] * 20], "b": [*shared, *[0.0] * 20]}), "right", check(), ())
    low, high = standing.levels["a"]["all"].low, standing.levels["b"]["all"].high
    assert low is not None and high is not None and low < high
    assert standing.groups == (("a",), ("b",))


def test_lower_may_be_better() -> None:
    """For a metric such as an edit distance the smallest mean is the best."""
    generator = np.random.default_rng(1)
    values = {"far": generator.normal(9, 1, 50), "near": generator.normal(3, 1, 50)}
    standing = stand(rows(values), "right", check("edit_distance"), ())
    assert standing.groups == (("near",), ("far",))
    assert frontier({"far": (9, 1.0), "near": (3, 2.0), "slow": (4, 3.0)}, higher=False) == {"far", "near"}


def test_answers_that_failed_count_as_what_they_might_have_been() -> None:
    """A candidate that gives no answer to hard cases does not look good for it: its interval reaches the worst."""
    made = rows({"a": [1.0] * 30 + [0.0] * 10, "b": [1.0] * 40})
    made["b"] = [replace(row, value=None, status="error", reason="gone") for row in made["b"][30:]]
    made["b"] = [*rows({"b": [1.0] * 40})["b"][:30], *made["b"]]
    found = stand(made, "right", check(), ())
    level = found.levels["b"]["all"]
    assert (level.estimate, level.n, level.errors) == (1.0, 30, 10)
    assert level.low == pytest.approx(float(wilson(30, 40, 0.975)[0]))
    assert found.groups == (("a", "b"),)


def test_slices_stand_apart() -> None:
    """A slice has its own level; one without cases has none."""
    made = rows({"a": [1.0, 0.0] * 20, "b": [1.0] * 40}, slices=dict.fromkeys(range(0, 40, 2), "easy"))
    levels = stand(made, "right", check(), ("easy", "empty")).levels["a"]
    assert (levels["all"].estimate, levels["easy"].estimate, levels["easy"].n) == (0.5, 1.0, 20)
    assert (levels["empty"].estimate, levels["empty"].n) == (None, 0)


def test_two_cases_prove_nothing() -> None:
    """However different the answers, nobody is told apart by two cases."""
    assert stand(rows({"a": [1.0, 1.0], "b": [0.0, 0.0]}), "right", check(), ()).groups == (("a", "b"),)


def test_frontier() -> None:
    """What another one beats in both is not on it; equals and the fastest are."""
    points = {"slow": (0.9, 9.0), "mid": (0.8, 5.0), "worse": (0.7, 6.0), "fast": (0.5, 1.0), "twin": (0.8, 5.0)}
    assert frontier(points, higher=True) == {"slow", "mid", "twin", "fast"}
