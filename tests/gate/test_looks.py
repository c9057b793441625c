import numpy as np
import pytest

from harness.gate import Options, needs_another_look
from harness.stats import Looks

from .builders import gate, rows

NOISY = [[1, 1, 0] if index % 2 else [1, 0, 1] for index in range(60)]
OTHER = [[1, 1, 0] if index % 3 else [1, 1, 1] for index in range(60)]


def test_a_look_uses_only_its_part_of_both_error_rates(decided):
    """The first of three looks is more confident than a single one."""
    once = decided(rows(NOISY, OTHER), gate()).gates[0]
    first = decided(rows(NOISY, OTHER), gate(), options=Options(looks=Looks(3))).gates[0]
    assert first.confidence == pytest.approx(1 - Looks(3).spent(0.05, 1))
    assert first.low < once.low


def test_a_smaller_part_of_alpha_fails_less(decided):
    """A drop that fails in the only look is still open in the first of three."""
    drop = [0] * 6 + [1] * 44
    assert decided(rows(drop, [1] * 50), gate()).verdict == "fail"
    assert decided(rows(drop, [1] * 50), gate(), options=Options(looks=Looks(3))).verdict == "inconclusive"


def test_another_look_is_taken_while_repeats_can_help(decided):
    """An undecided run whose repeats differ wants the next planned look, and none after the last."""
    generator = np.random.default_rng(1)
    arms = [generator.integers(0, 2, (60, 3)).tolist() for _ in range(2)]
    verdicts = [decided(rows(*arms), gate(), options=Options(looks=Looks(2), look=look)) for look in (1, 2)]
    assert [verdict.verdict for verdict in verdicts] == ["inconclusive"] * 2
    assert [needs_another_look(verdict) for verdict in verdicts] == [True, False]


def test_repeats_that_never_differ_do_not_ask_for_more(decided):
    """A deterministic suite needs cases, not another look."""
    verdict = decided(rows([[1, 1]] * 20, [[1, 1]] * 20), gate(), options=Options(looks=Looks(3)))
    assert verdict.verdict == "inconclusive"
    assert not needs_another_look(verdict)


def test_reason_offers_repeats_where_they_would_settle_it(decided):
    """Noise within cases alone is settled by more repeats as well as by more cases."""
    generator = np.random.default_rng(2)
    arms = [generator.binomial(1, 0.8, (60, 3)).tolist() for _ in range(2)]
    found = decided(rows(*arms), gate(threshold=0.1)).gates[0]
    assert found.verdict == "inconclusive"
    assert found.need_cases > 0
    assert found.need_repeats > 3
    assert f"measure {found.need_repeats} repeats a case instead of 3" in found.reason
