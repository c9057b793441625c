"""The regression stage: both arms of every app asked all cases through the gateway, scored, written down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

from harness.errors import SignoffError
from harness.evals import Arm, EvalRun, Progress, Scorer, Tally, bind_checks, measure_property, rewrite_cases
from harness.gate import StageResult
from harness.run.gateway import Gateway
from harness.run.options import Options
from harness.run.parity import served_as_evaluated
from harness.run.plan import Plan
from harness.serve.engine.hub import cache_identity
from harness.serve.steps.callers import CachingCaller, EndpointCaller
from harness.serve.steps.chain import Chain
from harness.serve.steps.http_step import HttpRunner
from harness.serve.steps.llm_step import samples
from harness.spec.measurement import Measurement, encode
from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case
from harness.store import GenerationCache, RunFolder, fetch

Again = Callable[[str, int], bool]


@dataclass
class StageReport:
    """What the stage did, for ``run.json``."""

    name: str = "regression"
    broken: str = ""
    seconds: float = 0.0
    rows: int = 0
    model_calls: int = 0
    cached_calls: int = 0
    outputs: int = 0
    errors: int = 0
    looks: int = 1
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """One entry of ``stages``."""
        return {
            "name": self.name,
            "status": "broken" if self.broken else "ok",
            "reason": self.broken,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "calls": self.model_calls,
            "cached": self.cached_calls,
            "outputs": self.outputs,
            "errors": self.errors,
            "apps": self.apps,
            "served": self.served,
        }

    def result(self) -> StageResult:
        """The stage as the gate room sees it."""
        status: Literal["ok", "broken"] = "broken" if self.broken else "ok"
        return StageResult(self.name, status, self.broken, self.seconds, self.rows, self.model_calls)


def load_cases(suite: SuiteFiles, options: Options) -> list[Case]:
    """All cases of a suite, those of pinned packages fetched."""
    return [
        case
        for file in suite.case_files
        for case in file.resolve(lambda source, sha256: fetch(source, sha256, cache=options.cache, root=options.root))
    ]


def measure(options: Options, plan: Plan, folder: RunFolder, again: Again = lambda _app, _look: False) -> StageReport:
    """Run the stage; ``again(app, look)`` decides after each look whether more repeats are worth their cost.

    Interrupting it once keeps what is done and marks the stage broken.
    """
    prepared = [
        (name, suite, load_cases(suite, options), bind_checks(suite.suite, options.root / "suites" / name, name))
        for name, suite in plan.repository.suites.items()
    ]
    for _, _, _, checks in prepared:
        for bound in checks:
            # What a check must load or fetch is had before the first model call, not after an hour of them.
            bound.check.prepare()
    started, report = time.monotonic(), StageReport()
    log = folder.artifacts(report.name) / "gateway.log"
    gateway = Gateway(options.root, plan.baseline_root, list(plan.repository.apps), options.cache, log)
    with gateway, contextlib.ExitStack() as stack:
        rows = stack.enter_context(folder.jsonl(f"measurements/{report.name}.jsonl"))
        outputs = stack.enter_context(folder.jsonl(f"artifacts/{report.name}/outputs.jsonl"))
        stage = _Stage(options, plan, gateway, report, rows.write, outputs.write, again, rows.flush)
        asyncio.run(stage.run(prepared))
    report.seconds = time.monotonic() - started
    return report


@dataclass
class _Stage:
    options: Options
    plan: Plan
    gateway: Gateway
    report: StageReport
    rows: Callable[[bytes], Any]
    outputs: Callable[[bytes], Any]
    again: Again
    flush: Callable[[], Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, prepared: Sequence[tuple[str, SuiteFiles, list[Case], Any]]) -> None:
        limit = max((suite.suite.concurrency for _, suite, _, _ in prepared), default=32)
        connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
            with _interruptible(self.stop), GenerationCache(self.options.cache / "generations.sqlite") as cache:
                caller = CachingCaller(EndpointCaller(session, self.gateway.base_url), cache, cache_identity)
                http = HttpRunner(session, cache)
                for name, suite, cases, checks in prepared:
                    await self._app(name, suite, cases, Scorer(checks), caller, http)
                    caller.flush()
                if self.gateway.url and self.plan.served and not self.report.broken:
                    await self._parity(session, prepared, caller, http)
        self.report.model_calls = caller.misses + http.calls
        self.report.cached_calls = caller.hits + http.hits
        self.report.served = {name: sorted(found) for name, found in http.served.items()}
        for name, found in self.report.served.items():
            if len(found) > 1:
                self.report.broken = (
                    self.report.broken or f"step {name} answered as {len(found)} builds: {', '.join(found)}"
                )

    def _arms(self, name: str, caller: CachingCaller, http: HttpRunner) -> list[Arm]:
        arms = []
        if self.plan.changed(name) and "baseline" in self.options.variants:
            files = self.plan.baselines[name]
            arms.append(Arm("baseline", files, Chain(files, caller, http)))
        if "candidate" in self.options.variants:
            files = self.plan.repository.apps[name]
            arms.append(Arm("candidate", files, Chain(files, caller, http)))
        return arms

    async def _app(
        self, name: str, suite: SuiteFiles, cases: list[Case], scorer: Scorer, caller: CachingCaller, http: HttpRunner
    ) -> None:
        started, before = time.monotonic(), caller.misses + http.calls
        spec, arms = suite.suite, self._arms(name, caller, http)
        run = EvalRun(
            arms, scorer, self.rows, self.outputs, spec.concurrency, spec.deadline_s, self.stop, self.gateway.alive
        )
        looks = spec.max_looks if any(samples(arm.files) for arm in arms) else 1
        for look in range(1, looks + 1):
            repeats = range((look - 1) * spec.repeats, look * spec.repeats)
            total = len(cases) * len(repeats) * len(arms)
            await run.run(cases, repeats, Progress(name, total, quiet=self.options.quiet))
            self.flush()
            self.report.looks = max(self.report.looks, look)
            if run.tally.broken or look == looks or not self.again(name, look):
                break
        if not run.tally.broken:
            await self._properties(suite, cases, arms)
        self._book(name, run.tally, time.monotonic() - started, caller.misses + http.calls - before)

    async def _properties(self, suite: SuiteFiles, cases: list[Case], arms: list[Arm]) -> None:
        for spec in suite.suite.properties:
            folder = arms[-1].files.folder
            rewritten = rewrite_cases(spec, cases, folder)
            for arm in arms:
                self._emit(await measure_property(spec, arm, rewritten, suite.suite.concurrency))

    def _emit(self, rows: Sequence[Measurement]) -> None:
        for row in rows:
            self.rows(encode(row))
        self.report.rows += len(rows)

    def _book(self, name: str, tally: Tally, seconds: float, calls: int) -> None:
        report = self.report
        report.rows += tally.rows
        report.outputs += tally.outputs
        report.errors += tally.errors
        report.broken = report.broken or (f"{name}: {tally.broken}" if tally.broken else "")
        report.apps[name] = {
            "seconds": round(seconds, 3),
            "outputs": tally.outputs,
            "errors": tally.errors,
            "calls": calls,
        }

    async def _parity(
        self, session: aiohttp.ClientSession, prepared: Sequence[Any], caller: CachingCaller, http: HttpRunner
    ) -> None:
        try:
            for name, _, cases, _ in prepared:
                for arm in self._arms(name, caller, http):
                    await served_as_evaluated(session, str(self.gateway.url), arm, cases[:2])
        except SignoffError as error:
            self.report.broken = str(error)


@contextlib.contextmanager
def _interruptible(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        # A second interrupt ends the process at once.
        loop.remove_signal_handler(signal.SIGINT)

    try:
        loop.add_signal_handler(signal.SIGINT, first)
    except (NotImplementedError, RuntimeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
