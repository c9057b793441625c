"""The stage evals: what models say of the answers of both arms, on a small and steady sample of the cases."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.evals import Arm, Progress
from harness.evals.judges import AbsentCheck, Asker, GradedCheck, JudgeCheck, sampled
from harness.evals.runner import GONE_AFTER
from harness.run.gateway import Gateway
from harness.run.stages.asking import Asking, asking, gateway_of, interruptible, load_cases
from harness.run.stages.graded import Answers, Findings, Grading, Row, told
from harness.run.stages.record import Context, StageReport
from harness.spec.graded import settings_of
from harness.spec.measurement import dump_line, encode
from harness.spec.models import Model
from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case, Suite
from harness.store import ScoreCache

NAME = "evals"
_Prepared = tuple[str, SuiteFiles, list[Case], list[GradedCheck]]
_Task = tuple[GradedCheck, Case]


def prepare(context: Context) -> Sequence[_Prepared]:
    """Cases and graded checks of every app; UsageError: a metric's settings are wrong."""
    options, models = context.options, context.plan.repository.models
    return [(name, suite, load_cases(suite, options), graded_checks(suite, models)) for name, suite in context.suites()]


def measure(context: Context) -> StageReport:
    """Run the stage. Interrupting it once keeps what is done and marks the stage broken."""
    options, folder, prepared = context.options, context.folder, prepare(context)
    started, report = time.monotonic(), StageReport(NAME)
    gateway = gateway_of(context, NAME)
    with gateway, contextlib.ExitStack() as stack:
        rows = stack.enter_context(folder.jsonl(f"measurements/{NAME}.jsonl"))
        judgements = stack.enter_context(folder.jsonl(f"artifacts/{NAME}/judgements.jsonl"))
        scores = stack.enter_context(ScoreCache(options.cache / "scores.sqlite"))
        stage = _Stage(context, gateway, report, scores, rows.write, judgements.write)
        asyncio.run(stage.run(prepared))
    report.seconds = time.monotonic() - started
    return report


def graded_checks(suite: SuiteFiles, models: Mapping[str, Model]) -> list[GradedCheck]:
    """The checks of a suite that a model grades; UsageError for settings that a metric refuses."""
    found: list[GradedCheck] = []
    for spec in suite.suite.checks:
        if spec.check.startswith("judge/"):
            found.append(JudgeCheck.of(spec, suite))
        elif spec.check.startswith("deepeval/"):
            from harness.evals.deepeval_checks import AbsentError, DeepevalCheck

            try:
                found.append(DeepevalCheck.of(spec, models))
            except AbsentError as error:
                found.append(AbsentCheck(spec, settings_of(spec), str(error)))
    return found


@dataclass
class _Stage:
    context: Context
    gateway: Gateway
    report: StageReport
    scores: ScoreCache
    rows: Callable[[bytes], Any]
    judgements: Callable[[bytes], Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    findings: Findings = field(default_factory=Findings)
    _unreached: int = 0

    async def run(self, prepared: Sequence[_Prepared]) -> None:
        limit = max((suite.suite.concurrency for _, suite, _, _ in prepared), default=32)
        async with asking(self.context, self.gateway, limit) as ask:
            grading = Grading(self.scores, Asker(ask.session, self.gateway.base_url))
            with interruptible(self.stop):
                for name, suite, cases, checks in prepared:
                    work = _work(suite, cases, checks, self.context.options.profile)
                    await self._app(name, suite.suite, work, ask, grading)
                    ask.caller.flush()
            ask.book(self.report)
        self.report.model_calls += grading.asker.calls.total()
        self.report.cached_calls += grading.kept
        self.report.found = told(prepared, self.findings)

    async def _app(self, name: str, suite: Suite, work: Sequence[_Task], ask: Asking, grading: Grading) -> None:
        report = self.report
        started, calls = time.monotonic(), ask.calls + grading.asker.calls.total()
        outputs, errors = report.outputs, report.errors
        arms = ask.arms(name)
        with Progress(f"{name}: graded", len(work), quiet=self.context.options.quiet) as progress:
            run = _AppRun(self, grading, arms, Answers(arms, suite.deadline_s), progress)
            todo = iter(work)
            await asyncio.gather(*(run.work(todo) for _ in range(min(suite.concurrency, len(work)))))
        report.apps[name] = {
            "seconds": round(time.monotonic() - started, 3),
            "outputs": report.outputs - outputs,
            "errors": report.errors - errors,
            "calls": ask.calls + grading.asker.calls.total() - calls,
        }

    def record(self, row: Row) -> None:
        """Write one row down, with what it rests on."""
        for measurement in row.measurements:
            self.rows(encode(measurement))
            self.findings.add(measurement)
        self.judgements(dump_line(row.judgement(), default=str))
        self.report.rows += len(row.measurements)
        self.report.outputs += 1
        self.report.errors += row.status == "error"

    def watch(self, row: Row) -> None:
        """Take note of whether the judge, or the app, can still be reached."""
        if row.asked:
            self._unreached = self._unreached + 1 if row.transport else 0
        if self._unreached >= GONE_AFTER:
            self.breaks(f"{GONE_AFTER} judgements in a row failed: {row.reason}")

    def breaks(self, reason: str) -> None:
        """End the stage; the first reason stays."""
        self.report.broken = self.report.broken or reason


@dataclass(frozen=True)
class _AppRun:
    """The grading of one app by several workers."""

    stage: _Stage
    grading: Grading
    arms: Sequence[Arm]
    answers: Answers
    progress: Progress

    async def work(self, todo: Iterator[_Task]) -> None:
        for check, case in todo:
            # Without a baseline there is nothing to prefer: the gates over a pairwise check do not apply.
            graded = self.arms if not check.pairwise else self.arms[-1:] if len(self.arms) > 1 else ()
            rows = [await self._graded(check, case, arm) for arm in graded]
            for row in rows:
                self.stage.record(row)
            self.progress.advance(failed=any(row.status == "error" for row in rows))

    async def _graded(self, check: GradedCheck, case: Case, arm: Arm) -> Row:
        stage = self.stage
        if stage.stop.is_set():
            stage.breaks("interrupted")
        try:
            if not stage.report.broken:
                row = await self.grading.row(check, case, arm, self.answers)
                if row.status == "error":
                    stage.gateway.alive()
                stage.watch(row)
                return row
        except UsageError:
            raise
        except SignoffError as error:
            # Not this case's fault: a dead gateway, another digest than under review. Nothing after it would count.
            stage.breaks(str(error).splitlines()[0])
        return Row.failed(check, case, arm, f"not run: {stage.report.broken}")


def _work(suite: SuiteFiles, cases: Sequence[Case], checks: Sequence[GradedCheck], profile: str) -> list[_Task]:
    return [(check, case) for check in checks for case in _sample(check, cases, suite.suite.seed, profile)]


def _sample(check: GradedCheck, cases: Sequence[Case], seed: int, profile: str) -> list[Case]:
    spec = check.spec
    fitting = [
        case
        for case in cases
        if (spec.expect is None or spec.expect in case.expect)
        and (not spec.slices or not set(spec.slices).isdisjoint(case.slices))
    ]
    return sampled(fitting, [case.id for case in fitting], f"{seed}/{spec.id}", check.settings.limit(profile))
