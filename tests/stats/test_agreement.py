"""Kappa and AUC against published figures, another implementation and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import auc, cohens_kappa, confusion_matrix


def test_published_example() -> None:
    """Fleiss, Cohen and Everitt (1969), table 1: kappa 0.429 with a standard error of 0.054 over 200 patients."""
    table = np.array([[0.53, 0.05, 0.02], [0.11, 0.14, 0.05], [0.01, 0.06, 0.03]]) * 200
    found = cohens_kappa(table)
    assert found.value == pytest.approx(0.429, abs=0.001)
    assert found.high is not None and found.low is not None
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(0.054, abs=0.001)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_as_statsmodels_says(linear: bool, seed: int) -> None:
    """Value and limits are those of statsmodels, with and without linear weights."""
    from statsmodels.stats.inter_rater import cohens_kappa as reference

    rng = np.random.default_rng(seed)
    table = rng.integers(0, 30, (4, 4)) + 10 * np.eye(4)
    other = reference(table, wt="linear" if linear else None)
    found = cohens_kappa(table, linear=linear)
    assert found.value == pytest.approx(other.kappa, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((other.kappa_low, other.kappa_upp), abs=1e-9)


@pytest.mark.parametrize(("agree", "least"), [(0.75, 0.93), (0.9, 0.90)])
def test_limits_cover_the_truth(agree: float, least: float) -> None:
    """Of 95 % intervals over 60 labels about 95 % hold the true kappa, also when agreement is high."""
    rng, true, runs = np.random.default_rng(3), 2 * agree - 1, 2000
    held = 0
    for _ in range(runs):
        people = rng.integers(0, 2, 60)
        judge = np.where(rng.random(60) < agree, people, 1 - people)
        found = cohens_kappa(confusion_matrix(people.tolist(), judge.tolist(), 2))
        held += found.low is not None and found.high is not None and found.low <= true <= found.high
    assert least <= held / runs <= 0.98


def test_a_guessing_judge_is_seldom_trusted() -> None:
    """The lower limit of a judge that guesses lies above 0 in about one run of forty."""
    rng, runs = np.random.default_rng(4), 2000
    trusted = 0
    for _ in range(runs):
        table = confusion_matrix(rng.integers(0, 2, 30).tolist(), rng.integers(0, 2, 30).tolist(), 2)
        low = cohens_kappa(table).low
        trusted += low is not None and low > 0
    assert trusted / runs < 0.05


def test_full_agreement_is_not_certain() -> None:
    """Thirty equal answers leave room below 1, and ten leave more."""
    few, many = (cohens_kappa(np.eye(2) * half) for half in (5, 15))
    assert few.value == many.value == 1.0
    assert few.low is not None and many.low is not None
    assert few.low < many.low < 0.9


@pytest.mark.parametrize("table", [np.zeros((2, 2)), [[7, 0], [0, 0]]])
def test_where_kappa_is_undefined(table: object) -> None:
    """No labels, or one category only, give no number instead of a wrong one."""
    assert cohens_kappa(table) == cohens_kappa(np.zeros((3, 3)))  # type: ignore[arg-type]


def test_auc_is_the_chance_of_the_right_order() -> None:
    """Every pair counted by hand: ties half; as scipy's Mann-Whitney statistic says; None without both kinds."""
    from scipy.stats import mannwhitneyu

    assert auc([0.9, 0.5], [0.5, 0.1]) == (1 + 1 + 0.5 + 1) / 4
    rng = np.random.default_rng(5)
    yes, no = rng.integers(0, 9, 40) / 8, rng.integers(0, 7, 30) / 8
    assert auc(yes.tolist(), no.tolist()) == pytest.approx(mannwhitneyu(yes, no).statistic / (40 * 30))
    assert auc([], [0.1]) is None
