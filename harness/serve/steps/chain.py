"""The step executor: runs an app's steps in order of their dependencies, independent ones at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from harness.errors import SignoffError
from harness.serve.steps.callers import Caller, MalformedError, StepError
from harness.serve.steps.function_step import load_function, run_function
from harness.serve.steps.http_step import HttpRunner
from harness.serve.steps.llm_step import LlmRunner, Question
from harness.spec.apps import FunctionStep, HttpStep, LlmStep
from harness.spec.conditions import ConditionError, Facts, holds
from harness.spec.context import context_of
from harness.spec.guards import first_broken
from harness.spec.prompt_rules import Branch, PromptChoice
from harness.spec.prompts import PromptInputError
from harness.spec.repository import AppFiles

StepStatus = Literal["ok", "error", "skipped"]
_TRANSIENT_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gave: its value, or why there is none.

    ``unreachable`` says that the transport failed: the service or model behind the step did not answer at all;
    ``timed_out`` that the step, or what it asked, took longer than it may.
    ``malformed`` says that a model answered in another form than the step promises; ``guard`` is the kind of the
    guard whose answer stands in for the step's own (empty: none).
    ``prompt`` is the version that a model step was asked with, ``branch`` the rule that chose it (empty: no choice).
    ``kind`` and ``model`` are the step's own; ``started`` and ``took_ms`` are explained at ``as_trace``.
    """

    output: Any = None
    status: StepStatus = "ok"
    reason: str = ""
    latency_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = True
    finish_reason: str = "stop"
    scores: Mapping[str, float] | None = None
    unreachable: bool = False
    timed_out: bool = False
    malformed: bool = False
    guard: str = ""
    prompt: str = ""
    branch: str = ""
    kind: str = ""
    model: str = ""
    started: float = field(default=0.0, compare=False)
    took_ms: float = field(default=0.0, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data for ``outputs.jsonl``."""
        shown = {name: getattr(self, name) for name in _SHOWN}
        shown |= {name: value for name in ("prompt", "branch", "guard") if (value := getattr(self, name))}
        return shown if self.scores is None else {**shown, "scores": dict(self.scores)}

    def as_trace(self) -> dict[str, Any]:
        """The result as plain data for what is told of a request.

        ``started`` (seconds since 1970) and ``took_ms`` are those of this call, cached or not.
        """
        call = {"kind": self.kind, "model": self.model, "started": self.started, "took_ms": self.took_ms}
        return {**self.as_dict(), **call}


_SHOWN = ("output", "status", "reason", "latency_ms", "tokens_in", "tokens_out", "cached", "finish_reason")


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What the app answered. ``value`` is the plain result, ``text`` the same as text.

    ``latency_ms`` is the sum over the steps on the way (original figures for cached ones).
    """

    value: Any
    text: str
    status: StepStatus
    reason: str
    steps: Mapping[str, StepResult]

    @property
    def latency_ms(self) -> float:
        """Milliseconds that the steps took when they were computed."""
        return sum(step.latency_ms for step in self.steps.values())

    @property
    def tokens_in(self) -> int:
        """Prompt tokens over all steps."""
        return sum(step.tokens_in for step in self.steps.values())

    @property
    def tokens_out(self) -> int:
        """Generated tokens over all steps."""
        return sum(step.tokens_out for step in self.steps.values())

    @property
    def unreachable(self) -> bool:
        """Whether the answer failed because a service or model could not be reached."""
        return any(step.unreachable for step in self.steps.values())

    @property
    def broken(self) -> str | None:
        """The id of the first step that failed, not of those that waited for it; None if none did."""
        return next((name for name, step in self.steps.items() if step.status == "error"), None)

    @property
    def cached(self) -> bool:
        """Whether no model and no service was called."""
        return all(step.cached for step in self.steps.values())


@dataclass(frozen=True, slots=True)
class Call:
    """One question to an app. ``case`` and ``repeat`` choose the seed of sampled steps."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, str]] = ()
    case: str = ""
    repeat: int = 0


class Chain:
    """An app that can be asked."""

    def __init__(self, files: AppFiles, caller: Caller, http: HttpRunner) -> None:
        self.files = files
        self._waves = [[files.app.step(name) for name in wave] for wave in files.app.order()]
        self._http = http
        self._llm = LlmRunner(files, caller)
        self._functions = {
            step.id: load_function(files.folder, step.function)
            for step in files.app.steps
            if isinstance(step, FunctionStep)
        }

    async def run(self, call: Call) -> ChainResult:
        """Answer ``call``. A step that fails is named in the result; nothing is raised for it."""
        try:
            inputs = bind_inputs(self.files, call)
        except SignoffError as error:
            return ChainResult(None, "", "error", str(error), {})
        results: dict[str, StepResult] = {}
        for wave in self._waves:
            if len(wave) == 1:
                results[wave[0].id] = await self._timed(wave[0], call, inputs, results)
            else:
                done = await asyncio.gather(*(self._timed(step, call, inputs, results) for step in wave))
                results.update({step.id: result for step, result in zip(wave, done, strict=True)})
        return self._finish(inputs, results)

    def _finish(self, inputs: Mapping[str, Any], results: Mapping[str, StepResult]) -> ChainResult:
        failed = next((f"step {name!r}: {step.reason}" for name, step in results.items() if step.status == "error"), "")
        reference = self.files.app.result
        try:
            value = resolve(reference, inputs, results)
        except StepError as error:
            return ChainResult(None, "", "error", failed or str(error), results)
        if failed:
            return ChainResult(None, "", "error", failed, results)
        if value is None:
            return ChainResult(None, "", "error", f"{reference} is empty: its step was skipped", results)
        try:
            return ChainResult(value, text_of(value), "ok", "", results)
        except StepError as error:
            return ChainResult(None, "", "error", f"{reference}: {error}", results)

    async def _timed(
        self,
        step: LlmStep | FunctionStep | HttpStep,
        call: Call,
        inputs: Mapping[str, Any],
        done: Mapping[str, StepResult],
    ) -> StepResult:
        started, clock = time.time(), time.perf_counter()
        result = await self._step(step, call, inputs, done)
        model = step.model if isinstance(step, LlmStep) else ""
        return replace(result, kind=step.kind, model=model, started=started, took_ms=_since(clock))

    async def _step(
        self,
        step: LlmStep | FunctionStep | HttpStep,
        call: Call,
        inputs: Mapping[str, Any],
        done: Mapping[str, StepResult],
    ) -> StepResult:
        broken = sorted(name for name in step.references if done[name].status == "error")
        if broken:
            return StepResult(status="error", reason=f"step {broken[0]!r} failed before it")
        started, unreachable, timed_out, malformed = time.perf_counter(), False, False, False
        taken = Branch("", "")
        try:
            if step.when and not self._holds(step.when, inputs, done):
                return StepResult(status="skipped", reason=f"when: {step.when}")
            taken = self._taken(step, inputs, done)
            async with asyncio.timeout(step.deadline_s):
                return _guarded(step, await self._retrying(step, call, inputs, done, taken))
        except TimeoutError:
            reason, timed_out = f"no answer within its deadline of {step.deadline_s:g} s", True
        except StepError as error:
            reason, unreachable, timed_out = str(error), error.transient, error.timed_out
            malformed = isinstance(error, MalformedError)
        except PromptInputError as error:
            reason = str(error)
        return StepResult(
            status="error",
            reason=reason,
            latency_ms=_since(started),
            cached=False,
            unreachable=unreachable,
            timed_out=timed_out,
            malformed=malformed,
            prompt=taken.prompt,
            branch=taken.name,
        )

    def _taken(
        self, step: LlmStep | FunctionStep | HttpStep, inputs: Mapping[str, Any], done: Mapping[str, StepResult]
    ) -> Branch:
        """The prompt version that answers, with the name of the rule that says so."""
        if not isinstance(step, LlmStep):
            return Branch("", "")
        if isinstance(step.prompt, PromptChoice):
            return step.prompt.pick(lambda text: self._holds(text, inputs, done))
        return Branch("", step.prompt)

    def _holds(self, text: str, inputs: Mapping[str, Any], done: Mapping[str, StepResult]) -> bool:
        seen = {name: {"output": result.output, "status": result.status} for name, result in done.items()}
        context = context_of(self.files.app.inputs, inputs)
        try:
            return holds(text, {"inputs": Facts(inputs), "steps": Facts(seen), "context": context})
        except ConditionError as error:
            message = f"when {text!r}: {error}"
            raise StepError(message) from error

    async def _retrying(
        self,
        step: LlmStep | FunctionStep | HttpStep,
        call: Call,
        inputs: Mapping[str, Any],
        done: Mapping[str, StepResult],
        taken: Branch,
    ) -> StepResult:
        for attempt in range(step.retries + 1):
            try:
                return await self._once(step, call, inputs, done, taken)
            except StepError as error:
                if not error.transient or attempt == step.retries:
                    raise
                await asyncio.sleep(_TRANSIENT_PAUSE_S * 2**attempt)
        raise AssertionError  # the loop returns or raises

    async def _once(
        self,
        step: LlmStep | FunctionStep | HttpStep,
        call: Call,
        inputs: Mapping[str, Any],
        done: Mapping[str, StepResult],
        taken: Branch,
    ) -> StepResult:
        bound = {name: resolve(target, inputs, done) for name, target in step.inputs.items()}
        started = time.perf_counter()
        if isinstance(step, FunctionStep):
            return StepResult(await run_function(self._functions[step.id], bound), latency_ms=_since(started))
        if isinstance(step, HttpStep):
            context = {"inputs": inputs, "steps": {name: {"output": r.output} for name, r in done.items()}, **bound}
            value, cached = await self._http.run(step, context, call.repeat)
            return StepResult(value, latency_ms=_since(started), cached=cached)
        options = None
        if step.output.kind == "choice" and step.output.options_from:
            options = resolve(step.output.options_from, inputs, done)
        question = Question(step, self.files.prompts[taken.prompt], call.case, call.repeat)
        answer = await self._llm.run(question, bound, options)
        return StepResult(
            answer.value,
            latency_ms=answer.generation.latency_ms,
            tokens_in=answer.generation.prompt_tokens,
            tokens_out=answer.generation.completion_tokens,
            cached=answer.cached,
            finish_reason=answer.generation.finish_reason,
            scores=answer.generation.scores,
            prompt=taken.prompt,
            branch=taken.name,
        )


def _guarded(step: LlmStep | FunctionStep | HttpStep, result: StepResult) -> StepResult:
    """The result, or the fixed answer of the first guard that it breaks."""
    broken = first_broken(step.guards, result.output)
    return result if broken is None else replace(result, output=broken.refuse, guard=broken.kind)


def text_of(value: Any) -> str:
    """A step's value as text: itself, or JSON; StepError for what JSON cannot hold."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError as error:
        message = f"the value cannot be written as JSON: {error}"
        raise StepError(message) from error


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000


def resolve(reference: str, inputs: Mapping[str, Any], done: Mapping[str, StepResult]) -> Any:
    """The value of ``inputs.x`` or ``steps.y.output.z``; None where a step was skipped."""
    head, name, *rest = reference.split(".")
    if head == "inputs":
        value: Any = inputs.get(name)
    else:
        result = done[name]
        if result.status == "skipped":
            return None
        attribute, *rest = rest or ["output"]
        value = getattr(result, attribute) if attribute in _SHOWN else _missing(reference, attribute)
    for part in rest:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            _missing(reference, part)
    return value


def _missing(reference: str, part: str) -> Any:
    message = f"reference {reference!r}: there is no {part!r}"
    raise StepError(message)


def bind_inputs(files: AppFiles, call: Call) -> dict[str, Any]:
    """The app's inputs for ``call``: the body's ``inputs``, the last user message, what came before it, defaults."""
    declared, bound = files.app.inputs, dict(call.inputs)
    unknown = sorted(set(bound) - set(declared))
    if unknown:
        message = f"app {files.name!r} has no input {unknown[0]!r}; it takes {', '.join(declared)}"
        raise StepError(message)
    for name, spec in declared.items():
        if name in bound:
            continue
        if spec.source == "user_message" and call.messages:
            bound[name] = call.messages[-1]["content"]
        elif spec.source == "history":
            bound[name] = [dict(message) for message in call.messages[:-1]]
        elif spec.default is not None or not spec.required:
            bound[name] = spec.default
        else:
            message = f"app {files.name!r} needs input {name!r} ({spec.kind}); give it in 'inputs'"
            raise StepError(message)
    return bound
