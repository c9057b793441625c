"""The quality of one candidate: the suite's cases asked through the run's cache, scored by one check."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from harness.evals import Arm, EvalRun, Progress, Scorer
from harness.evals.scoring import BoundCheck
from harness.run.gateway import Gateway
from harness.run.model_choice.variants import Variant
from harness.serve.engine.hub import cache_identity
from harness.serve.protocol import GenerationRequest
from harness.serve.steps.callers import Answer, CachingCaller, EndpointCaller, StepError
from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.serve.steps.http_step import HttpRunner
from harness.spec.measurement import Measurement, encode
from harness.spec.models import Model
from harness.spec.suites import Case, Suite
from harness.store import GenerationCache

STAGE = "models"


@dataclass
class Asked:
    """What asking one candidate gave. Tokens are of the varied step, one entry for each answer."""

    rows: list[Measurement] = field(default_factory=list)
    tokens_in: list[int] = field(default_factory=list)
    tokens_out: list[int] = field(default_factory=list)
    model_calls: int = 0
    cached_calls: int = 0
    broken: str = ""


@dataclass(frozen=True, slots=True)
class _Named:
    """Rows under ``app@candidate``, so that those of several candidates stand in one table."""

    scorer: Scorer
    name: str

    def score(self, case: Case, arm: Arm, repeat: int, result: ChainResult, digest: str) -> list[Measurement]:
        """The rows of one answer."""
        return [replace(row, app=self.name) for row in self.scorer.score(case, arm, repeat, result, digest)]


@dataclass(frozen=True, slots=True)
class Yardstick:
    """By what every candidate is measured: the same cases, the same check, the same settings of the suite."""

    app: str
    suite: Suite
    check: BoundCheck
    cases: Sequence[Case]
    cache: Path
    quiet: bool = False


def ask(
    found: Variant, by: Yardstick, gateway: Gateway, rows: Callable[[bytes], Any], outputs: Callable[[bytes], Any]
) -> Asked:
    """Ask and score all cases; SignoffError when nothing can be asked at all."""
    return asyncio.run(_ask(found, by, gateway, rows, outputs))


async def _ask(
    found: Variant, by: Yardstick, gateway: Gateway, rows: Callable[[bytes], Any], outputs: Callable[[bytes], Any]
) -> Asked:
    asked = Asked()

    def row(line: bytes) -> None:
        rows(line)
        asked.rows.append(Measurement.of(orjson.loads(line)))

    def output(line: bytes) -> None:
        plain = orjson.loads(line)
        step = plain["steps"].get(found.step.id, {})
        if step.get("status") == "ok":
            asked.tokens_in.append(step["tokens_in"])
            asked.tokens_out.append(step["tokens_out"])
        outputs(orjson.dumps(plain | {"candidate": found.id}, option=orjson.OPT_APPEND_NEWLINE))

    connector = aiohttp.TCPConnector(limit=by.suite.concurrency, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
        with GenerationCache(by.cache / "generations.sqlite") as cache:
            caller = CachingCaller(EndpointCaller(session, gateway.base_url), cache, cache_identity)
            http = HttpRunner(session, cache)
            arm = Arm("candidate", found.files, Chain(found.files, caller, http))
            await _start_if_asked(found, by, gateway, cache, http)
            scorer = _Named(Scorer((by.check,), STAGE), f"{by.app}@{found.id}")
            run = EvalRun([arm], scorer, row, output, by.suite.concurrency, by.suite.deadline_s, alive=gateway.alive)
            progress = Progress(found.id, len(by.cases) * by.suite.repeats, quiet=by.quiet)
            await run.run(by.cases, range(by.suite.repeats), progress)
            caller.flush()
    asked.model_calls, asked.cached_calls = caller.misses + http.calls, caller.hits + http.hits
    asked.broken = run.tally.broken
    return asked


class _Nobody:
    """Answers nothing: what it is asked for is not in the cache."""

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """StepError."""
        message = f"model {model.name!r} was not asked before"
        raise StepError(message)


async def _start_if_asked(
    found: Variant, by: Yardstick, gateway: Gateway, cache: GenerationCache, http: HttpRunner
) -> None:
    """Start the process now when the first case will need it: the steps' deadlines are for answers, not for that."""
    if not any(model.pinned for model in found.files.models.values()):
        return
    chain = Chain(found.files, CachingCaller(_Nobody(), cache, cache_identity), http)
    if (await chain.run(call_of(by.cases[0]))).status == "error":
        await gateway.started()


def call_of(case: Case) -> Call:
    """The case as a question."""
    return Call(case.inputs, [turn.model_dump() for turn in case.messages], case.id, 0)


def figure(
    by: Yardstick, found: Variant, case: Case, name: str, value: float | None, unit: str, reason: str = ""
) -> bytes:
    """A row of the table that holds a time or a size."""
    return encode(
        Measurement(
            stage=STAGE,
            app=f"{by.app}@{found.id}",
            variant="candidate",
            case=case.id,
            check="",
            metric=name,
            value=value,
            status="scored" if value is not None else "error",
            unit=unit,
            step=found.step.id,
            slices=case.slices,
            group=case.cluster,
            reason=reason,
            app_digest=found.brief.digest,
        )
    )
