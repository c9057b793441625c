"""The async runner: asks both arms every case, scores the outputs, streams rows to disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from harness.errors import SignoffError, UsageError
from harness.evals.progress import Progress
from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.spec.measurement import Measurement, Variant, dump_line, encode
from harness.spec.repository import AppFiles
from harness.spec.suites import Case
from harness.store import digest_bytes

# So many failures of the transport in a row, with no answer between them, mean that the service is gone.
GONE_AFTER = 8

Emit = Callable[[bytes], Any]


@dataclass(frozen=True)
class Arm:
    """One variant of one app, ready to be asked."""

    variant: Variant
    files: AppFiles
    chain: Chain


@dataclass
class Tally:
    """What a stage did. ``broken`` says why it could not be finished, empty when it was."""

    outputs: int = 0
    errors: int = 0
    cached: int = 0
    rows: int = 0
    broken: str = ""


class Scores(Protocol):
    """Turns an answer into rows."""

    def score(self, case: Case, arm: Arm, repeat: int, result: ChainResult, digest: str) -> list[Measurement]:
        """The rows of one answer."""
        ...


@dataclass
class EvalRun:
    """Asks ``arms`` all ``cases``, ``repeats`` times each, with at most ``concurrency`` questions under way.

    ``rows`` and ``outputs`` take encoded JSON lines as they become known. Questions alternate between the arms
    case by case, so that both see the same machine. ``stop`` ends the run early: what is done is kept, what is
    not becomes rows with status ``error``.
    """

    arms: Sequence[Arm]
    scorer: Scores
    rows: Emit
    outputs: Emit
    concurrency: int = 32
    deadline_s: float = 300.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    alive: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    _unreached: int = 0

    async def run(self, cases: Sequence[Case], repeats: Iterable[int], progress: Progress) -> Tally:
        """Work through everything; the tally says whether it was whole."""
        work = self._work(cases, list(repeats))
        with progress:
            workers = [asyncio.create_task(self._worker(work, progress)) for _ in range(self.concurrency)]
            await asyncio.gather(*workers)
        return self.tally

    def _work(self, cases: Sequence[Case], repeats: Sequence[int]) -> Iterator[tuple[Case, Arm, int]]:
        return ((case, arm, repeat) for repeat in repeats for case in cases for arm in self.arms)

    async def _worker(self, work: Iterator[tuple[Case, Arm, int]], progress: Progress) -> None:
        for case, arm, repeat in work:
            result = await self._answer(case, arm, repeat)
            self._record(case, arm, repeat, result)
            progress.advance(failed=result.status == "error")

    async def _answer(self, case: Case, arm: Arm, repeat: int) -> ChainResult:
        if self.stop.is_set():
            self.tally.broken = self.tally.broken or "interrupted"
        if self.tally.broken:
            return ChainResult(None, "", "error", f"not run: {self.tally.broken}", {})
        messages = [{"role": turn.role, "content": turn.content} for turn in case.messages]
        call = Call(case.inputs, messages, case.id, repeat)
        try:
            async with asyncio.timeout(self.deadline_s):
                result = await arm.chain.run(call)
            if result.status == "error":
                self.alive()
            self._watch(result)
            return result
        except TimeoutError:
            return ChainResult(None, "", "error", f"no answer within the suite's deadline of {self.deadline_s:g} s", {})
        except UsageError:
            # A key that is not set, a model that is not what its file says: nothing can be measured until it is mended.
            raise
        except SignoffError as error:
            # Not this case's fault: a dead gateway, another digest than under review. Nothing after it would count.
            self.tally.broken = self.tally.broken or str(error).splitlines()[0]
            return ChainResult(None, "", "error", f"not run: {self.tally.broken}", {})

    def _watch(self, result: ChainResult) -> None:
        self._unreached = self._unreached + 1 if result.unreachable else 0
        if self._unreached >= GONE_AFTER:
            self.tally.broken = self.tally.broken or f"{GONE_AFTER} answers in a row failed: {result.reason}"

    def _record(self, case: Case, arm: Arm, repeat: int, result: ChainResult) -> None:
        digest = digest_bytes(result.text.encode("utf-8", "surrogatepass")) if result.status == "ok" else ""
        self.outputs(_output_row(case, arm, repeat, result, digest))
        rows = self.scorer.score(case, arm, repeat, result, digest)
        for row in rows:
            self.rows(encode(row))
        self.tally.rows += len(rows)
        self.tally.outputs += 1
        self.tally.errors += result.status == "error"
        self.tally.cached += result.status == "ok" and result.cached


def _output_row(case: Case, arm: Arm, repeat: int, result: ChainResult, digest: str) -> bytes:
    row = {
        "app": arm.files.name,
        "variant": arm.variant,
        "case": case.id,
        "repeat": repeat,
        "seed": arm.files.app.seed,
        "slices": case.slices,
        "group": case.cluster,
        "input": shown_input(case),
        "expect": case.expect,
        "output": result.text,
        "output_digest": digest,
        "status": result.status,
        "reason": result.reason,
        "latency_ms": round(result.latency_ms, 3),
        "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out,
        "cached": result.cached,
        "app_digest": arm.files.digest,
        "steps": {name: step.as_dict() for name, step in result.steps.items()},
    }
    return dump_line(row, default=_plain)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def shown_input(case: Case) -> str:
    """What the user wrote, for people: a dialogue line by line, or the case's text inputs."""
    if case.messages:
        return "\n".join(f"{turn.role}: {turn.content}" for turn in case.messages)
    texts = [value for value in case.inputs.values() if isinstance(value, str)]
    return max(texts, key=len, default=orjson.dumps(case.inputs, default=str).decode())
