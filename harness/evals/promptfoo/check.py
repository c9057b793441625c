"""The check ``promptfoo``: assertions of promptfoo that have no twin among the checks, and whole tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.evals.checks.expectations import expected
from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown
from harness.evals.promptfoo.rules import judge, judge_all


@check("promptfoo", expects=True)
def promptfoo() -> Run:
    """What an assertion of promptfoo says of the output: 1 when it holds, else 0.

    The case expects one assertion (``{type: levenshtein, value: ..., threshold: 3}``; ``not-`` and ``assert-set`` as
    there), or a whole test (``{assert: [...], threshold: 0.5}``): every assertion must hold, or with a threshold
    the weighted mean of their scores must reach it. Runs without promptfoo.
    """

    def run(subject: Subject) -> Score:
        asked: Any = expected(subject)
        if not isinstance(asked, Mapping) or not _readable(asked):
            raise Unscored(f"the expectation must be an assertion or a test with assertions, not {shown(asked)}")
        ruling = judge(asked, subject) if "type" in asked else judge_all(asked, subject)
        return Score(float(ruling.passed), "" if ruling.passed else ruling.reason)

    return run


def _readable(asked: Mapping[str, Any]) -> bool:
    """Whether every assertion has a type, and every set and test some assertions."""
    if asked.get("type", "assert-set") != "assert-set":
        return isinstance(asked["type"], str)
    members = asked.get("assert")
    return isinstance(members, list) and bool(members) and all(isinstance(m, Mapping) and _readable(m) for m in members)
