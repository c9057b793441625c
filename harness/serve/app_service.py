"""Apps behind the gateway: the same chain that evaluation runs, answering chat requests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

import aiohttp
from pydantic import ValidationError

from harness.errors import SignoffError
from harness.serve.gateway.response_cache import always_the_same
from harness.serve.gateway.served import (
    AppRequest,
    AppResponse,
    BrokenStepError,
    DecodingOverrides,
    Forecast,
    Tokens,
    Trouble,
)
from harness.serve.protocol import RequestError
from harness.serve.steps.callers import Caller
from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.serve.steps.http_step import HttpRunner
from harness.serve.steps.llm_step import decoding_of
from harness.spec.apps import AppInput, Decoding, LlmStep
from harness.spec.repository import AppFiles
from harness.store import digest_of

# Every combination of overrides needs a chain of its own, and callers choose the combinations.
_CHAINS = 32
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


class Means(Protocol):
    """What apps share: who answers model calls, and the connections of http steps. Used within one event loop."""

    def caller(self) -> Caller:
        """Who answers model calls."""
        ...

    def session(self) -> aiohttp.ClientSession:
        """The connections."""
        ...


class AppService:
    """One app of one tree, served as a model. Needs a running event loop from its first request on."""

    def __init__(self, name: str, files: AppFiles, means: Means) -> None:
        self.name, self.files, self.digest = name, files, files.digest
        self._means = means
        self._chains: OrderedDict[DecodingOverrides, Chain] = OrderedDict()

    async def respond(self, request: AppRequest) -> AppResponse:
        """Answer one chat request; RequestError for inputs that it refuses, BrokenStepError for a step that broke."""
        _refuse_wrong_kinds(self.files.app.inputs, request.inputs)
        chain = self._chain(request.overrides)
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        case = "" if request.seed is None else str(request.seed)
        result = await chain.run(Call(request.inputs, messages, case, request.repeat))
        if result.status != "ok":
            raise self._failure(result)
        tokens = Tokens(result.tokens_in, result.tokens_out, 0)
        steps = {name: step.as_trace() for name, step in result.steps.items()}
        return AppResponse(result.text, chain.files.digest, tokens, steps)

    def forecast(self, request: AppRequest) -> Forecast:
        """What is certain of the answer to ``request``: its digest, whether it repeats, how much may be written."""
        files = self._chain(request.overrides).files
        asks_services = any(step.kind == "http" for step in files.app.steps)
        fixed = request.seed is not None and files.pinned and not asks_services
        return Forecast(files.digest, fixed or always_the_same(files), _most_tokens(files))

    def _failure(self, result: ChainResult) -> SignoffError:
        broken = result.broken
        if broken is None:
            # No step ran, so the request itself was wrong; or all went well and the answer is of no use.
            return (
                RequestError(result.reason, "inputs")
                if not result.steps
                else SignoffError(f"app {self.name!r}: {result.reason}")
            )
        step = result.steps[broken]
        trouble: Trouble = "timeout" if step.timed_out else "unreachable" if step.unreachable else "failed"
        return BrokenStepError(self.name, broken, trouble, step.reason)

    def _chain(self, overrides: DecodingOverrides) -> Chain:
        chain = self._chains.get(overrides)
        if chain is None:
            files = with_overrides(self.files, overrides) if overrides else self.files
            chain = self._chains[overrides] = Chain(files, self._means.caller(), HttpRunner(self._means.session()))
        self._chains.move_to_end(overrides)
        while len(self._chains) > _CHAINS:
            self._chains.popitem(last=False)
        return chain


def with_overrides(files: AppFiles, overrides: DecodingOverrides) -> AppFiles:
    """The app with the last model step's decoding replaced: another digest, which no evidence matches."""
    given = {name: value for name, value in asdict(overrides).items() if value is not None}
    steps = list(files.app.steps)
    last = max((i for i, step in enumerate(steps) if isinstance(step, LlmStep)), default=None)
    if last is None:
        message = f"app {files.name!r} has no model step whose decoding could be overridden"
        raise RequestError(message, next(iter(given)))
    step = steps[last]
    assert isinstance(step, LlmStep)
    try:
        decoding = Decoding(**{**step.decoding.model_dump(exclude_none=True), **given})
    except ValidationError as problem:
        name = str(problem.errors()[0]["loc"][0])
        raise RequestError(f"{name}: {problem.errors()[0]['msg']}", name) from problem
    steps[last] = step.model_copy(update={"decoding": decoding})
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return marked(replace(files, app=files.app.model_copy(update={"steps": tuple(steps)})), "overrides", plain)


def marked(files: AppFiles, what: str, value: Any) -> AppFiles:
    """The app with another digest, because ``what`` makes it answer otherwise than the one that was gated."""
    return replace(files, parts={**files.parts, what: digest_of(value)})


def _most_tokens(files: AppFiles) -> int:
    """The most tokens that the app's model steps may write together."""
    steps = [step for step in files.app.steps if isinstance(step, LlmStep)]
    return sum(max(decoding_of(step, files.prompts[key], 0).max_tokens for key in step.prompts) for step in steps)


def _refuse_wrong_kinds(declared: Mapping[str, AppInput], given: Mapping[str, Any]) -> None:
    """RequestError for a value of another kind than the app declares: a step that fails on it would look broken."""
    for name, value in given.items():
        spec = declared.get(name)
        if spec is None or (value is None and not spec.required):
            continue
        if not isinstance(value, _KINDS[spec.kind]) or (isinstance(value, bool) and spec.kind != "boolean"):
            raise RequestError(f"input {name!r} must be of kind {spec.kind}, not {type(value).__name__}", "inputs")
