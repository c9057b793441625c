"""The apps of one tree, ready to be asked from synchronous tests for as long as pytest runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import aiohttp

from harness.errors import SignoffError
from harness.evals import Arm, EvalRun, Progress, Scorer
from harness.run.gateway import Gateway
from harness.run.options import Options
from harness.run.plan import Plan, make_plan
from harness.run.stages.asking import load_cases
from harness.serve.engine.hub import cache_identity
from harness.serve.protocol import Generation, GenerationRequest
from harness.serve.steps.callers import CachingCaller, EndpointCaller
from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.serve.steps.function_step import load_function
from harness.serve.steps.http_step import HttpRunner
from harness.spec.apps import FunctionStep
from harness.spec.git import Revision
from harness.spec.models import Model
from harness.spec.repository import SuiteFiles, load_repository
from harness.spec.suites import Case
from harness.store import GenerationCache

T = TypeVar("T")


def plan_for(options: Options) -> Plan:
    """The plan of a run; git is not looked at unless a baseline is asked for."""
    if options.baseline is not None:
        return make_plan(options)
    repository = load_repository(options.root, only=options.apps)
    return Plan(repository, Revision("", None, "no baseline was asked for"), None, {})


class Bench:
    """Asks through the same chain, cache and gateway as the gate does."""

    def __init__(self, options: Options, log: Path) -> None:
        self.options = options
        self.plan = plan_for(options)
        self._runner = asyncio.Runner()
        judging = sorted({name for suite in self.plan.repository.suites.values() for name in suite.judging_models})
        self._gateway = Gateway(
            options.root, self.plan.baseline_root, list(self.plan.repository.apps), options.cache, log, judging
        )
        self._cache = GenerationCache(options.cache / "generations.sqlite")
        self._session = self._runner.run(_session())
        self._caller = CachingCaller(EndpointCaller(self._session, self._gateway.base_url), self._cache, cache_identity)
        self._http = HttpRunner(self._session, self._cache)
        self._chains: dict[str, Chain] = {}

    def compared(self, name: str) -> Literal["changed", "same", ""]:
        """How the app's baseline stands to it; empty when there is none."""
        if name not in self.plan.baselines:
            return ""
        return "changed" if self.plan.changed(name) else "same"

    def cases(self, suite: SuiteFiles) -> list[Case]:
        """All cases of a suite, those of pinned packages fetched."""
        return load_cases(suite, self.options)

    def ask(self, name: str, cases: Sequence[Case], scorer: Scorer, emit: Sequence[Callable[[bytes], Any]]) -> None:
        """Ask every arm of the app all ``cases`` once; ``emit`` takes lines of rows and of outputs."""
        arms, (rows, outputs) = self._arms(name), emit
        spec = self.plan.repository.suites[name].suite
        run = EvalRun(arms, scorer, rows, outputs, spec.concurrency, spec.deadline_s, alive=self._gateway.alive)
        progress = Progress(f"signoff: {name}", len(cases) * len(arms), quiet=self.options.quiet)
        self._run(run.run(cases, range(1), progress))

    def answer(self, name: str, call: Call) -> ChainResult:
        """What the app answers to one question."""
        return self._run(self._chain(name).run(call))

    def generate(self, model: Model, request: GenerationRequest) -> Generation:
        """What a model answers to one question, over the run's gateway and cache."""
        return self._run(self._caller.ask(model, request, 0)).generation

    def function(self, name: str, step: str) -> Callable[..., Any]:
        """The function of the app's function step ``step``; SignoffError when there is no such step."""
        files = self.plan.repository.apps[name]
        found = {item.id: item for item in files.app.steps if isinstance(item, FunctionStep)}
        if step not in found:
            message = f"app {name!r} has no function step {step!r}; it has {', '.join(found) or 'none'}"
            raise SignoffError(message)
        return load_function(files.folder, found[step].function)

    def url(self) -> str:
        """The root URL of the gateway, which is started if it is not running."""
        return self._run(self._gateway.started())

    def close(self) -> None:
        """Stop the gateway and free what is held."""
        self._runner.run(self._session.close())
        self._gateway.__exit__(None, None, None)
        self._runner.close()
        self._cache.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        finally:
            self._caller.flush()

    def _arms(self, name: str) -> list[Arm]:
        arms = []
        if self.plan.changed(name):
            files = self.plan.baselines[name]
            arms.append(Arm("baseline", files, Chain(files, self._caller, self._http)))
        return [*arms, Arm("candidate", self.plan.repository.apps[name], self._chain(name))]

    def _chain(self, name: str) -> Chain:
        if name not in self._chains:
            self._chains[name] = Chain(self.plan.repository.apps[name], self._caller, self._http)
        return self._chains[name]


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60))


def question(text: str | None, inputs: Mapping[str, Any]) -> Call:
    """``text`` as the user's message beside named inputs."""
    return Call(inputs, [] if text is None else [{"role": "user", "content": text}])
