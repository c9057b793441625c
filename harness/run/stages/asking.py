"""Both arms of an app, ready to be asked through the run's gateway and caches."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp

from harness.evals import Arm
from harness.run.gateway import Gateway
from harness.run.options import Options
from harness.run.plan import Plan
from harness.run.stages.record import Context, StageReport
from harness.serve.engine.hub import cache_identity
from harness.serve.steps.callers import CachingCaller, EndpointCaller
from harness.serve.steps.chain import Chain
from harness.serve.steps.http_step import HttpRunner
from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case
from harness.store import GenerationCache, fetch


@dataclass
class Asking:
    """What asks: ``calls`` counts what models and services were asked, ``hits`` what caches answered."""

    options: Options
    plan: Plan
    session: aiohttp.ClientSession
    caller: CachingCaller
    http: HttpRunner

    @property
    def calls(self) -> int:
        """Calls of models and services so far."""
        return self.caller.misses + self.http.calls

    @property
    def hits(self) -> int:
        """Calls that a cache answered so far."""
        return self.caller.hits + self.http.hits

    def arms(self, name: str) -> list[Arm]:
        """The arms of an app that this run measures: the baseline only where it differs."""
        arms = []
        if self.plan.changed(name) and "baseline" in self.options.variants:
            files = self.plan.baselines[name]
            arms.append(Arm("baseline", files, Chain(files, self.caller, self.http)))
        if "candidate" in self.options.variants:
            files = self.plan.repository.apps[name]
            arms.append(Arm("candidate", files, Chain(files, self.caller, self.http)))
        return arms

    def book(self, report: StageReport) -> None:
        """Write calls and the builds of services that answered into the report; two builds of one service break it."""
        report.model_calls, report.cached_calls = self.calls, self.hits
        report.served = {name: sorted(found) for name, found in self.http.served.items()}
        for name, found in report.served.items():
            if len(found) > 1:
                report.broken = report.broken or f"step {name} answered as {len(found)} builds: {', '.join(found)}"


def gateway_of(context: Context, stage: str) -> Gateway:
    """The local gateway over both trees, started by the first call that no cache answers; a context manager."""
    options, plan = context.options, context.plan
    log = context.folder.artifacts(stage) / "gateway.log"
    judging = sorted({name for _, suite in context.suites() for name in suite.judging_models})
    return Gateway(options.root, plan.baseline_root, list(plan.repository.apps), options.cache, log, judging)


@contextlib.asynccontextmanager
async def asking(context: Context, gateway: Gateway, limit: int) -> AsyncIterator[Asking]:
    """Callers over the gateway with at most ``limit`` connections, and the run's caches."""
    connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
        with GenerationCache(context.options.cache / "generations.sqlite") as cache:
            caller = CachingCaller(EndpointCaller(session, gateway.base_url), cache, cache_identity)
            yield Asking(context.options, context.plan, session, caller, HttpRunner(session, cache))


def load_cases(suite: SuiteFiles, options: Options) -> list[Case]:
    """All cases of a suite, those of pinned packages fetched."""
    return [
        case
        for file in suite.case_files
        for case in file.resolve(lambda source, sha256: fetch(source, sha256, cache=options.cache, root=options.root))
    ]


@contextlib.contextmanager
def interruptible(stop: asyncio.Event) -> Iterator[None]:
    """Within, the first interrupt sets ``stop``; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
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
