"""How fast each candidate answers and how much memory it takes: one question after the other, nothing from a cache."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from harness.errors import SignoffError
from harness.load.noise import MachineWatch
from harness.run.model_choice.child import CandidateGateway, first_line
from harness.run.model_choice.quality import Yardstick, call_of, figure
from harness.run.model_choice.variants import Variant
from harness.serve.steps.callers import EndpointCaller
from harness.serve.steps.chain import Chain, StepResult
from harness.serve.steps.http_step import HttpRunner
from harness.spec.suites import Case

LATENCY, MEMORY = "models.latency", "models.memory"


@dataclass
class Speed:
    """Times of the varied step in milliseconds, questions that failed, and the process's peak memory in bytes."""

    times: list[float] = field(default_factory=list)
    errors: int = 0
    reason: str = ""
    memory: int | None = None

    def as_dict(self) -> dict[str, Any] | None:
        """Median and 95th percentile (nearest rank); None when no question was answered."""
        if not self.times:
            return None
        median, high = np.quantile(self.times, [0.5, 0.95], method="inverted_cdf")
        return {"median_ms": float(median), "p95_ms": float(high), "n": len(self.times), "errors": self.errors}


@dataclass(frozen=True, slots=True)
class Timed:
    """All candidates' speed by id, and what else the machine did meanwhile (shares of its time; None: unknown)."""

    speeds: Mapping[str, Speed]
    stolen: float | None
    busy: float | None
    load: float
    seconds: float


def time_all(
    gateways: Mapping[str, CandidateGateway],
    variants: Sequence[Variant],
    by: Yardstick,
    count: int,
    rows: Callable[[bytes], Any],
) -> Timed:
    """Ask every candidate ``count`` cases in an order that the app's seed gives, in turn within each case.

    The order among the candidates is drawn anew for each case, so that whatever else the machine does meets all of
    them alike. Before, each is asked one question that does not count: it loads the model.
    """
    return asyncio.run(_time_all(gateways, variants, by, count, rows))


async def _time_all(
    gateways: Mapping[str, CandidateGateway],
    variants: Sequence[Variant],
    by: Yardstick,
    count: int,
    rows: Callable[[bytes], Any],
) -> Timed:
    order = random.Random(f"{by.suite.seed}:{by.app}")  # noqa: S311  (an order, no secret)
    cases = order.sample(list(by.cases), min(count, len(by.cases)))
    speeds = {found.id: Speed() for found in variants}
    async with contextlib.AsyncExitStack() as stack:
        sessions = {v.id: await stack.enter_async_context(aiohttp.ClientSession()) for v in variants}
        chains = {v.id: _chain(v, gateways[v.id], sessions[v.id]) for v in variants}
        ready = [v for v in variants if await _warm(v, chains[v.id], gateways[v.id], cases[0], speeds[v.id])]
        watch = _watch([gateways[v.id] for v in ready])
        started = time.monotonic()
        for case in cases:
            for found in order.sample(ready, len(ready)):
                step, why = await _one(found, chains[found.id], case)
                _note(speeds[found.id], step, why)
                rows(figure(by, found, case, LATENCY, None if step is None else step.took_ms, "ms", why))
            _look(watch)
        seconds = time.monotonic() - started
        for found in ready:
            memory = speeds[found.id].memory = gateways[found.id].peak_bytes()
            if memory is not None:
                rows(figure(by, found, cases[-1], MEMORY, float(memory), "bytes"))
    stolen, busy = watch[0].shares() if watch else (None, None)
    return Timed(speeds, stolen, busy, os.getloadavg()[0], seconds)


def _chain(found: Variant, gateway: CandidateGateway, session: aiohttp.ClientSession) -> Chain:
    return Chain(found.brief, EndpointCaller(session, gateway.base_url), HttpRunner(session))


async def _warm(found: Variant, chain: Chain, gateway: CandidateGateway, case: Case, speed: Speed) -> bool:
    try:
        if any(model.pinned for model in found.brief.models.values()):
            # Here, because a step's deadline is for its answer.
            await gateway.started()
        step, why = await _one(found, chain, case)
    except SignoffError as error:
        step, why = None, first_line(error)
    speed.reason = why
    return step is not None


async def _one(found: Variant, chain: Chain, case: Case) -> tuple[StepResult | None, str]:
    """The varied step's result; None and the reason when it gave none."""
    try:
        result = await chain.run(call_of(case))
    except SignoffError as error:
        return None, first_line(error)
    step = result.steps.get(found.step.id)
    if step is None or step.status != "ok":
        return None, (step.reason if step else result.reason) or "the step gave nothing"
    return step, ""


def _note(speed: Speed, step: StepResult | None, why: str) -> None:
    if step is None:
        speed.errors += 1
        speed.reason = why
    else:
        speed.times.append(step.took_ms)


def _watch(gateways: Sequence[CandidateGateway]) -> tuple[MachineWatch, int] | None:
    """Who watches the machine, and one of our processes; None when no candidate runs here."""
    pids = [pid for gateway in gateways if (pid := gateway.pid) is not None]
    if not pids:
        return None
    watch = MachineWatch(tuple(pids[1:]))
    watch.look(pids[0])
    return watch, pids[0]


def _look(watch: tuple[MachineWatch, int] | None) -> None:
    if watch:
        watch[0].look(watch[1])
