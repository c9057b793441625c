"""From one answer to its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.serve.steps.chain import ChainResult, StepResult
from harness.spec.measurement import Measurement
from harness.spec.suites import Case
from tests.evals.arms import RIGHT, arm, cases, failed, ok, scorer


def score(
    result: ChainResult, *checks: dict[str, Any], case: Case | None = None, folder: Path = Path()
) -> list[Measurement]:
    """The rows of one answer."""
    return scorer(*checks, folder=folder).score(case or cases(1)[0], arm(str), 2, result, "d" * 64)


def test_check_without_its_expectation_is_left_out() -> None:
    """A check runs only on cases that have its expectation and one of its slices."""
    other = {"id": "other", "check": "exact_match", "expect": "tone"}
    sliced = {"id": "sliced", "check": "not_contains", "with": {"text": "x"}, "slices": ["long"]}
    assert [row.check for row in score(ok("yes"), RIGHT, other, sliced)] == ["right"]
    (long,) = cases(1, slices=["long"])
    assert [row.check for row in score(ok("yes"), RIGHT, other, sliced, case=long)] == ["right", "sliced"]


def test_row_says_where_it_comes_from() -> None:
    """A row carries app, arm, case, repeat, seed and the digests of app, output and check."""
    (row,) = score(ok("yes", cached=False), RIGHT)
    assert (row.app, row.variant, row.case, row.group, row.repeat, row.seed) == ("desk", "candidate", "c0", "c0", 2, 4)
    assert (row.value, row.status, row.cached, row.output_digest) == (1.0, "scored", False, "d" * 64)
    assert len(row.app_digest) == 64 and len(row.check_digest) == 64


def test_check_s_digest_follows_its_settings() -> None:
    """Another setting is another check: its rows carry another digest."""
    (one,) = score(ok("yes"), RIGHT)
    (two,) = score(ok("yes"), {**RIGHT, "with": {"strip": True}})
    assert one.check_digest != two.check_digest


def test_check_looks_at_its_step() -> None:
    """A check of a step sees that step's output, and goes on where a later step failed."""
    later = ChainResult(
        None, "", "error", "step 'b': boom", {"a": StepResult("yes"), "b": StepResult(None, "error", "boom")}
    )
    first, second, whole = score(
        later, {**RIGHT, "step": "a"}, {**RIGHT, "id": "r2", "step": "b"}, {**RIGHT, "id": "r3"}
    )
    assert (first.value, first.step) == (1.0, "a")
    assert (second.status, second.value, second.reason) == ("error", None, "step 'b': boom")
    assert (whole.status, whole.reason) == ("error", "step 'b': boom")


def test_skipped_step_is_unscored() -> None:
    """A step that was not meant to run is no error and no wrong answer."""
    result = ChainResult("yes", "yes", "ok", "", {"a": StepResult(None, "skipped", "when: x")})
    (row,) = score(result, {**RIGHT, "step": "a"})
    assert (row.status, row.value, row.reason) == ("unscored", None, "step 'a' was skipped")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('no idea')", "no idea"),
        ("return float('nan')", "nan"),
        ("return None", "None"),
        ("return 7", "outside"),
        ("return 'high'", "high"),
    ],
)
def test_check_that_cannot_tell_is_unscored(tmp_path: Path, code: str, said: str) -> None:
    """An exception, NaN, nothing, a value off the range and a text give no score, with the reason."""
    (tmp_path / "own.py").write_text(f"def f(subject):\n    {code}\n")
    (row,) = score(ok("yes"), {"id": "own", "check": "python", "with": {"function": "own.py:f"}}, folder=tmp_path)
    assert (row.status, row.value) == ("unscored", None)
    assert said in row.reason


def test_failed_answer_is_an_error_for_every_check() -> None:
    """Without an answer no check is asked, also none that an empty text would pass."""
    absent = {"id": "absent", "check": "not_contains", "with": {"text": "x"}}
    rows = score(failed("boom"), RIGHT, absent)
    assert [(row.status, row.value, row.reason) for row in rows] == [("error", None, "step 'sort': boom")] * 2


def test_own_check_sees_inputs_steps_and_figures(tmp_path: Path) -> None:
    """A suite's own check is given output, expectation, inputs, outputs of steps and tokens."""
    (tmp_path / "own.py").write_text(
        "def f(s):\n    return (s.output, s.expect, s.inputs['message'], s.steps['sort'], s.tokens_out) == "
        "('yes', 'yes', 'm0', 'yes', 9)\n"
    )
    spec = {"id": "own", "check": "python", "expect": "label", "with": {"function": "own.py:f"}}
    assert score(ok("yes", tokens_out=9), spec, folder=tmp_path)[0].value == 1.0


def test_all_wrong_checks_at_once() -> None:
    """Every check that cannot be built is named in one error."""
    with pytest.raises(UsageError) as raised:
        scorer({"id": "a", "check": "exact_mach"}, {"id": "b", "check": "length", "with": {"unit": "stones"}})
    assert [problem.message[:10] for problem in raised.value.problems] == ["check 'a':", "check 'b':"]
