"""Arms whose answers a test scripts, and the rows that a run of them gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import orjson

from harness.evals import Arm, EvalRun, Progress, Scorer, Tally, bind_checks
from harness.serve.steps.chain import Call, Chain, ChainResult, StepResult
from harness.spec.apps import App
from harness.spec.repository import AppFiles
from harness.spec.suites import Case, Suite

Answer = Callable[[Call], Any]
APP = App.model_validate(
    {
        "name": "desk",
        "seed": 4,
        "inputs": {"message": {"from": "user_message"}},
        "steps": [{"id": "sort", "kind": "function", "function": "f.py:f"}],
    }
)


@dataclass
class ScriptedChain:
    """Answers with ``answer(call)``: a text, a whole result, an exception to raise, or something to await."""

    answer: Answer
    asked: list[Call] = field(default_factory=list)
    now: int = 0
    most: int = 0

    async def run(self, call: Call) -> ChainResult:
        """The scripted answer."""
        self.asked.append(call)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            said = self.answer(call)
            said = await said if isinstance(said, Awaitable) else said
        finally:
            self.now -= 1
        if isinstance(said, BaseException):
            raise said
        return said if isinstance(said, ChainResult) else ok(said)


def ok(value: Any, **step: Any) -> ChainResult:
    """A good answer of the one step."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return ChainResult(value, text, "ok", "", {"sort": StepResult(value, **step)})


def failed(reason: str) -> ChainResult:
    """An answer that failed in the one step."""
    return ChainResult(None, "", "error", f"step 'sort': {reason}", {"sort": StepResult(None, "error", reason)})


def arm(answer: Answer, variant: Any = "candidate") -> Arm:
    """An arm over a scripted chain."""
    return Arm(variant, AppFiles(APP, Path(), {}, {}, {"v": variant}), cast(Chain, ScriptedChain(answer)))


def chain(of: Arm) -> ScriptedChain:
    """The scripted chain of an arm."""
    return cast(ScriptedChain, of.chain)


def scorer(*checks: dict[str, Any], folder: Path = Path()) -> Scorer:
    """A scorer of these checks."""
    return Scorer(bind_checks(Suite.model_validate({"checks": checks}), folder, "suite.yaml"))


RIGHT = {"id": "right", "check": "exact_match", "expect": "label"}


def cases(count: int, **fields: Any) -> list[Case]:
    """Cases whose expected label is ``yes``."""
    return [
        Case.model_validate({"id": f"c{i}", "inputs": {"message": f"m{i}"}, "expect": {"label": "yes"}, **fields})
        for i in range(count)
    ]


@dataclass
class Ran:
    """What a run emitted."""

    tally: Tally
    rows: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


def run(
    arms: Sequence[Arm], asked: Sequence[Case], scored: Scorer | None = None, repeats: Sequence[int] = (0,), **more: Any
) -> Ran:
    """Run to the end and read what was written; ``arrange(run)`` may prepare the run inside its event loop."""
    rows: list[bytes] = []
    outputs: list[bytes] = []
    arrange = more.pop("arrange", lambda _: None)

    async def work() -> Tally:
        job = EvalRun(arms, scored or scorer(RIGHT), rows.append, outputs.append, **more)
        arrange(job)
        return await job.run(asked, repeats, Progress("desk", 0, quiet=True))

    tally = asyncio.run(work())
    return Ran(tally, [orjson.loads(row) for row in rows], [orjson.loads(row) for row in outputs])
