"""The regression stage: both arms of every app asked all cases through the gateway, scored, written down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import SignoffError
from harness.evals import EvalRun, Progress, Scorer, bind_checks, measure_property, rewrite_cases
from harness.evals.scoring import BoundCheck
from harness.run.gateway import Gateway
from harness.run.parity import served_as_evaluated
from harness.run.stages.asking import Asking, asking, gateway_of, interruptible, load_cases
from harness.run.stages.record import Context, StageReport
from harness.serve.steps.llm_step import samples
from harness.spec.measurement import Measurement, encode
from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case

NAME = "regression"
_Prepared = tuple[str, SuiteFiles, list[Case], tuple[BoundCheck, ...]]


def measure(context: Context) -> StageReport:
    """Run the stage. Interrupting it once keeps what is done and marks the stage broken."""
    options, folder = context.options, context.folder
    prepared: list[_Prepared] = [
        (name, suite, load_cases(suite, options), bind_checks(suite.suite, context.suite_folder(name), name))
        for name, suite in context.suites()
    ]
    for _, _, _, checks in prepared:
        for bound in checks:
            # What a check must load or fetch is had before the first model call, not after an hour of them.
            bound.check.prepare()
    started, report = time.monotonic(), StageReport(NAME)
    gateway = gateway_of(context, NAME)
    with gateway, contextlib.ExitStack() as stack:
        rows = stack.enter_context(folder.jsonl(f"measurements/{NAME}.jsonl"))
        outputs = stack.enter_context(folder.jsonl(f"artifacts/{NAME}/outputs.jsonl"))
        stage = _Stage(context, gateway, report, rows.write, outputs.write, rows.flush)
        asyncio.run(stage.run(prepared))
    report.seconds = time.monotonic() - started
    return report


@dataclass
class _Stage:
    context: Context
    gateway: Gateway
    report: StageReport
    rows: Callable[[bytes], Any]
    outputs: Callable[[bytes], Any]
    flush: Callable[[], Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, prepared: Sequence[_Prepared]) -> None:
        limit = max((suite.suite.concurrency for _, suite, _, _ in prepared), default=32)
        async with asking(self.context, self.gateway, limit) as ask:
            with interruptible(self.stop):
                for name, suite, cases, checks in prepared:
                    await self._app(name, suite, cases, Scorer(checks), ask)
                    ask.caller.flush()
                if self.gateway.url and self.context.plan.served and not self.report.broken:
                    await self._parity(prepared, ask)
            ask.book(self.report)

    async def _app(self, name: str, suite: SuiteFiles, cases: list[Case], scorer: Scorer, ask: Asking) -> None:
        started, before = time.monotonic(), ask.calls
        spec, arms = suite.suite, ask.arms(name)
        run = EvalRun(
            arms, scorer, self.rows, self.outputs, spec.concurrency, spec.deadline_s, self.stop, self.gateway.alive
        )
        looks = spec.max_looks if any(samples(arm.files) for arm in arms) else 1
        for look in range(1, looks + 1):
            repeats = range((look - 1) * spec.repeats, look * spec.repeats)
            total = len(cases) * len(repeats) * len(arms)
            await run.run(cases, repeats, Progress(name, total, quiet=self.context.options.quiet))
            self.flush()
            self.report.looks = max(self.report.looks, look)
            if run.tally.broken or look == looks or not self.context.again(name, look):
                break
        if not run.tally.broken:
            for rule in spec.properties:
                rewritten = rewrite_cases(rule, cases, self.context.suite_folder(name))
                for arm in arms:
                    self._emit(await measure_property(rule, arm, rewritten, spec.concurrency))
        self.report.count(name, run.tally, time.monotonic() - started, ask.calls - before)

    def _emit(self, rows: Sequence[Measurement]) -> None:
        for row in rows:
            self.rows(encode(row))
        self.report.rows += len(rows)

    async def _parity(self, prepared: Sequence[_Prepared], ask: Asking) -> None:
        try:
            for name, _, cases, _ in prepared:
                for arm in ask.arms(name):
                    await served_as_evaluated(ask.session, str(self.gateway.url), arm, cases[:2])
        except SignoffError as error:
            self.report.broken = str(error)
