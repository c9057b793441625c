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
from harness.spec.suites import Case
from harness.store import ScoreCache

NAME = "evals"
_Prepared = tuple[str, SuiteFiles, list[Case], list[GradedCheck]]


def measure(context: Context) -> StageReport:
    """Run the stage. Interrupting it once keeps what is done and marks the stage broken.

    UsageError: a metric's settings are wrong.
    """
    options, folder, models = context.options, context.folder, context.plan.repository.models
    prepared = [
        (name, suite, load_cases(suite, options), graded_checks(suite, models)) for name, suite in context.suites()
    ]
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
            asker = Asker(ask.session, self.gateway.base_url)
            grading = Grading(self.scores, asker)
            with interruptible(self.stop):
                for name, suite, cases, checks in prepared:
                    await self._app(name, suite, self._work(suite, cases, checks), (ask, grading))
                    ask.caller.flush()
            ask.book(self.report)
        self.report.model_calls += asker.calls.total()
        self.report.cached_calls += grading.kept
        self.report.found = told(prepared, self.findings)

    def _work(self, suite: SuiteFiles, cases: Sequence[Case], checks: Sequence[GradedCheck]) -> list[Any]:
        profile = self.context.options.profile
        return [
            (check, case)
            for check in checks
            for case in _sample(check, cases, f"{suite.suite.seed}/{check.spec.id}", profile)
        ]

    async def _app(
        self, name: str, suite: SuiteFiles, work: list[tuple[GradedCheck, Case]], who: tuple[Asking, Grading]
    ) -> None:
        ask, grading = who
        started, calls, before = time.monotonic(), ask.calls + grading.asker.calls.total(), self._counts()
        arms = ask.arms(name)
        answers, todo = Answers(arms, suite.suite.deadline_s), iter(work)
        with Progress(f"{name}: graded", len(work), quiet=self.context.options.quiet) as progress:
            workers = [
                asyncio.create_task(self._worker(todo, arms, answers, (grading, progress)))
                for _ in range(min(suite.suite.concurrency, len(work)))
            ]
            await asyncio.gather(*workers)
        outputs, errors = self._counts()
        self.report.apps[name] = {
            "seconds": round(time.monotonic() - started, 3),
            "outputs": outputs - before[0],
            "errors": errors - before[1],
            "calls": ask.calls + grading.asker.calls.total() - calls,
        }

    async def _worker(
        self,
        todo: Iterator[tuple[GradedCheck, Case]],
        arms: Sequence[Arm],
        answers: Answers,
        means: tuple[Grading, Progress],
    ) -> None:
        grading, progress = means
        for check, case in todo:
            graded: Sequence[Arm] = arms[-1:] if check.pairwise else arms
            # Without a baseline there is nothing to prefer: the gates over it do not apply.
            if check.pairwise and len(arms) < 2:
                continue
            for arm in graded:
                made = await self._graded(check, case, arm, (answers, grading))
                self._record(made)
            progress.advance(failed=made.status == "error")

    async def _graded(self, check: GradedCheck, case: Case, arm: Arm, how: tuple[Answers, Grading]) -> Row:
        answers, grading = how
        if self.stop.is_set():
            self.report.broken = self.report.broken or "interrupted"
        if self.report.broken:
            return Row.failed(check, case, arm, f"not run: {self.report.broken}")
        try:
            row = await grading.row(check, case, arm, answers)
            if row.status == "error" and not row.transport:
                self.gateway.alive()
            self._watch(row)
            return row
        except UsageError:
            raise
        except SignoffError as error:
            # Not this case's fault: a dead gateway, another digest than under review. Nothing after it would count.
            self.report.broken = self.report.broken or str(error).splitlines()[0]
            return Row.failed(check, case, arm, f"not run: {self.report.broken}")

    def _watch(self, row: Row) -> None:
        if row.asked:
            self._unreached = self._unreached + 1 if row.transport else 0
        if self._unreached >= GONE_AFTER:
            self.report.broken = self.report.broken or f"{GONE_AFTER} judgements in a row failed: {row.reason}"

    def _record(self, row: Row) -> None:
        for measurement in row.measurements:
            self.rows(encode(measurement))
            self.findings.add(measurement)
        self.judgements(dump_line(row.judgement(), default=str))
        self.report.rows += len(row.measurements)
        self.report.outputs += 1
        self.report.errors += row.status == "error"

    def _counts(self) -> tuple[int, int]:
        return self.report.outputs, self.report.errors


def _sample(check: GradedCheck, cases: Sequence[Case], salt: str, profile: str) -> list[Case]:
    spec = check.spec
    fitting = [
        case
        for case in cases
        if (spec.expect is None or spec.expect in case.expect)
        and (not spec.slices or not set(spec.slices).isdisjoint(case.slices))
    ]
    return sampled(fitting, [case.id for case in fitting], salt, check.settings.limit(profile))
