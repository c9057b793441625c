"""The schedule: fixed by its seed, equal for both arms, balanced between them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.errors import UsageError
from harness.load import WARMUP, LoadPlan, make_schedule
from harness.spec.suites import Case
from tests.load.plans import BOTH, CASES, plan, profile


def test_the_seed_fixes_everything() -> None:
    """The same seed gives the same requests at the same times; another seed gives others."""
    one, same, other = (make_schedule(profile(seed=seed, blocks=8), CASES, BOTH) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_gaps_are_a_poisson_process() -> None:
    """Gaps have the mean 1 / rate and, as exponential ones do, a standard deviation as large as their mean."""
    schedule = make_schedule(profile(rate=4, blocks=40, block_requests=100), CASES, ["candidate"])
    gaps = np.concatenate([np.diff([0.0, *(shot.offset_s for shot in block.shots)]) for block in schedule.blocks])
    assert gaps.size == 4000
    assert gaps.mean() == pytest.approx(0.25, rel=0.06)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.08)


@pytest.mark.parametrize("blocks", [2, 7, 12])
def test_both_arms_get_the_same_and_begin_equally_often(blocks: int) -> None:
    """A pair's blocks differ in the arm alone, and either arm begins half of the pairs (or one more)."""
    schedule = make_schedule(profile(blocks=blocks, warmup=2), CASES, BOTH)
    counted = [block for block in schedule.blocks if block.pair != WARMUP]
    pairs = list(zip(counted[::2], counted[1::2], strict=True))
    assert len(pairs) == blocks
    for one, other in pairs:
        assert one.pair == other.pair
        assert one.variant != other.variant
        assert [(s.case, s.question, s.offset_s) for s in one.shots] == [
            (s.case, s.question, s.offset_s) for s in other.shots
        ]
    first = Counter(one.variant for one, _ in pairs)
    assert abs(first["baseline"] - first["candidate"]) <= 1


def test_every_case_is_asked_before_any_comes_again() -> None:
    """A prompt that was answered before is cheaper than a new one, so repeats come as late as they can."""
    schedule = make_schedule(profile(blocks=4, block_requests=20), CASES, ["candidate"])
    asked = [shot.question for _, shot in schedule.measured()]
    assert sorted(asked[:40]) == sorted(asked[40:]) == list(range(40))
    assert len({shot.case for _, shot in schedule.measured()}) == 80


def test_warm_up_is_sent_and_not_counted() -> None:
    """The warm-up comes first, to each arm, at the same rate."""
    schedule = make_schedule(profile(warmup=5, blocks=2, block_requests=3), CASES, BOTH)
    assert [block.pair for block in schedule.blocks[:2]] == [WARMUP, WARMUP]
    assert {len(block.shots) for block in schedule.blocks[:2]} == {5}
    assert schedule.requests == 10 + 12
    assert len(list(schedule.measured())) == 12


def test_slices_choose_cases() -> None:
    """Only cases of the slices named are asked; none at all is a mistake in the file."""
    cases = [*CASES, Case(id="angry-1", inputs={}, slices=("angry",))]
    schedule = make_schedule(profile(slices=("angry",)), cases, BOTH)
    assert {case.id for case in schedule.cases} == {"angry-1"}
    with pytest.raises(UsageError, match="no case of slices polite to ask"):
        make_schedule(profile(slices=("polite",)), cases, BOTH)


def test_a_plan_is_read_back_as_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The child process works on exactly what its parent planned."""
    given = plan(tmp_path, "http://127.0.0.1:1/v1", BOTH)
    given.write(tmp_path / "plan.json")
    assert LoadPlan.read(tmp_path / "plan.json") == given
