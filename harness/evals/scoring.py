"""From one answer of an app to its rows of the measurement table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import Problem, UsageError
from harness.evals.checks import Check, Score, Subject, build_check
from harness.serve.steps.chain import ChainResult, StepResult, text_of
from harness.spec.measurement import Measurement
from harness.spec.suites import Case, CheckSpec, Suite

if TYPE_CHECKING:
    from harness.evals.runner import Arm


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """A check of the suite beside the function that computes it."""

    spec: CheckSpec
    check: Check

    def applies(self, case: Case) -> bool:
        """Whether the case has the expectation and one of the slices that the check asks for."""
        if self.spec.expect is not None and self.spec.expect not in case.expect:
            return False
        return not self.spec.slices or not set(self.spec.slices).isdisjoint(case.slices)


def bind_checks(suite: Suite, folder: Path, shown: str) -> tuple[BoundCheck, ...]:
    """All checks of a suite that need no model, built; UsageError holds the problems of every one."""
    bound, problems = [], []
    for spec in suite.checks:
        if spec.graded:
            continue
        try:
            bound.append(
                BoundCheck(
                    spec, build_check(spec.check, spec.settings, suite_dir=folder, expects=spec.expect is not None)
                )
            )
        except UsageError as error:
            problems.append(Problem(shown, None, f"check {spec.id!r}: {error}"))
    if problems:
        raise UsageError.of(problems)
    return tuple(bound)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Applies the checks of one suite."""

    checks: Sequence[BoundCheck]
    stage: str = "regression"

    def score(self, case: Case, arm: Arm, repeat: int, result: ChainResult, digest: str) -> list[Measurement]:
        """One row for each check that applies and each metric it gives."""
        common: dict[str, Any] = {
            "stage": self.stage,
            "app": arm.files.name,
            "variant": arm.variant,
            "case": case.id,
            "slices": case.slices,
            "group": case.cluster,
            "repeat": repeat,
            "seed": arm.files.app.seed,
            "app_digest": arm.files.digest,
        }
        rows: list[Measurement] = []
        seen: dict[str, Subject] = {}
        for bound in self.checks:
            if bound.applies(case):
                rows += _rows(bound, case, result, digest, common, seen)
        return rows


def _rows(
    bound: BoundCheck,
    case: Case,
    result: ChainResult,
    digest: str,
    common: Mapping[str, Any],
    seen: dict[str, Subject],
) -> list[Measurement]:
    spec, check = bound.spec, bound.check
    base = {**common, "step": spec.step, "check": spec.id, "check_digest": check.digest}
    step = result.steps.get(spec.step) if spec.step else None
    failure = _failure(spec, result, step)
    if failure:
        status, reason = failure
        return [Measurement(**base, metric=spec.id, value=None, status=status, unit=check.unit, reason=reason)]
    if step is not None:
        digest = ""
    scores: Score | list[Score]
    cached = False
    try:
        if spec.step not in seen:
            seen[spec.step] = _subject(case, result, step)
        cached = seen[spec.step].cached
        scores = check.run(_expecting(seen[spec.step], case.expect.get(spec.expect) if spec.expect else None))
    except Exception as error:
        scores = Score(None, reason=f"{spec.check} raised {type(error).__name__}: {error}")
    listed = scores if isinstance(scores, list) else [scores]
    return [_row(base, spec.id, check, score, digest, cached) for score in listed]


def _row(base: Mapping[str, Any], name: str, check: Check, score: Score, digest: str, cached: bool) -> Measurement:
    value, reason = score.value, score.reason
    if value is not None and not math.isfinite(value):
        value, reason = None, f"the check gave {score.value}, which is not a number to average"
    return Measurement(
        **base,
        metric=f"{name}.{score.metric}" if score.metric else name,
        # A check may give a number of another library, which JSON does not know.
        value=None if value is None else float(value),
        status="unscored" if value is None else "scored",
        unit=score.unit or check.unit,
        reason=reason,
        cached=cached,
        output_digest=digest,
    )


def _failure(spec: CheckSpec, result: ChainResult, step: StepResult | None) -> tuple[Any, str] | None:
    if not spec.step or step is None:
        return None if result.status == "ok" else ("error", result.reason)
    if step.status == "error":
        return "error", f"step {spec.step!r}: {step.reason}"
    return ("unscored", f"step {spec.step!r} was skipped") if step.status == "skipped" else None


def _subject(case: Case, result: ChainResult, step: StepResult | None) -> Subject:
    """What every check of ``step`` (None: of the app's answer) sees of the case, but for the expectation."""
    source: Any = result if step is None else step
    inputs = dict(case.inputs)
    if case.messages:
        inputs["messages"] = [turn.model_dump() for turn in case.messages]
    return Subject(
        output=result.text if step is None else text_of(step.output),
        parsed=result.value if step is None else step.output,
        inputs=inputs,
        latency_ms=source.latency_ms,
        tokens_in=source.tokens_in,
        tokens_out=source.tokens_out,
        cached=source.cached,
        steps={name: item.output for name, item in result.steps.items()},
    )


def _expecting(subject: Subject, expect: Any) -> Subject:
    # Each check gets mappings of its own: one that changes them must not change what the next one sees.
    return Subject(
        subject.output,
        subject.parsed,
        expect,
        dict(subject.inputs),
        subject.latency_ms,
        subject.tokens_in,
        subject.tokens_out,
        subject.cached,
        dict(subject.steps),
    )
