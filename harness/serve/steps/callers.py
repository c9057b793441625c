"""Who answers a step's model call: an endpoint over HTTP, an engine in this process, or the cache before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.serve.protocol import Decoding, Generation, GenerationRequest, Output, OverloadedError, RequestError
from harness.serve.remote import (
    Contracts,
    Endpoint,
    EndpointError,
    Remotes,
    path_of,
    post,
    read_answer,
    request_body,
)
from harness.spec.adapters import adapter_name
from harness.spec.models import Model
from harness.store import GenerationCache, generation_key

# The gateway's own cache of answers must not stand between a measurement and the model.
_BYPASS = "bypass"
_MEASURING = {"x-signoff-cache": _BYPASS}
_MOST_UNSAVED = 512
_UNSAVED_S = 0.25


class StepError(SignoffError):
    """A step failed. ``transient`` errors come from the transport and may be tried again; ``timed_out``: too slow."""

    def __init__(self, message: str, *, transient: bool = False, timed_out: bool = False) -> None:
        super().__init__(message)
        self.transient, self.timed_out = transient, timed_out


class MalformedError(StepError):
    """A model answered, and not in the form that its step promises: no JSON, none of the options."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A generation, and whether it was read from the cache."""

    generation: Generation
    cached: bool = False


class Caller(Protocol):
    """Answers one model call; raises StepError."""

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The answer of ``model``; ``repeat`` tells equal sampled requests apart in caches."""
        ...


class EngineCaller:
    """Calls the engine of each model within this process, as the gateway does.

    ``engine(model, adapter)`` gives it. RequestError and OverloadedError pass: they are for whoever sent the request.
    """

    def __init__(self, engine: Callable[[Model, str | None], Awaitable[Any]]) -> None:
        self._engine = engine

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """Generate with the model's engine, which is loaded when it is first needed."""
        try:
            engine = await self._engine(model, request.adapter if model.pinned else None)
            return Answer(await engine.generate(request))
        except EndpointError as error:
            raise StepError(str(error), transient=error.transient, timed_out=error.timed_out) from error


class EndpointCaller:
    """Asks over HTTP: this project's gateway, whose address up to ``/v1`` ``base_url(model)`` gives, or an endpoint.

    What an endpoint does not honour by its contract is refused before it is sent. A digest that the gateway serves
    (header ``x-signoff-digest``) and that differs from the model's own raises SignoffError: what is not under
    review is not measured.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: Callable[[Model], Awaitable[str]],
        contracts: Contracts | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._remotes = Remotes(contracts, session)
        self.calls = 0

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The answer; transport failures and 408, 429, 502, 503, 504 are transient."""
        self.calls += 1
        try:
            if not model.pinned:
                return Answer(await self._remotes.of(model).generate(request))
            return Answer(await self._of_gateway(model, request))
        except OverloadedError as error:
            raise StepError(str(error), transient=True) from error
        except EndpointError as error:
            raise StepError(str(error), transient=error.transient, timed_out=error.timed_out) from error
        except RequestError as error:
            raise StepError(str(error)) from error

    async def _of_gateway(self, model: Model, request: GenerationRequest) -> Generation:
        endpoint = replace(Endpoint.of(model), base_url=await self._base_url(model), timeout_s=None)
        # The digest of an adapter covers its base: what answers is named by one of them.
        name, digest = model.served_name, model.digest
        if request.adapter is not None:
            name, digest = adapter_name(request.adapter), request.adapter
        body = request_body(request, name, own=True)
        reply = await post(self._session, endpoint, path_of(request), body, _MEASURING)
        _refuse_kept(reply.headers.get("x-signoff-cache"), model, endpoint)
        served = reply.headers.get("x-signoff-digest")
        if served is not None and served != digest:
            where = endpoint.base_url
            message = f"model {model.name!r}: {where} serves {served[:12]}, under review is {digest[:12]}; restart it"
            raise SignoffError(message)
        return read_answer(reply.content, request, endpoint)


def _refuse_kept(state: str | None, model: Model, endpoint: Endpoint) -> None:
    """SignoffError for an answer that a cache of answers stood behind: it would say nothing of the model."""
    if state not in (None, _BYPASS):
        where = endpoint.base_url
        message = f"model {model.name!r}: {where} was asked to bypass its cache of answers and says {state!r}"
        raise SignoffError(message)


Identity = Callable[[Model], Mapping[str, str]]


class CachingCaller:
    """Looks into the generation cache first; equal requests under way are asked once.

    ``identity(model)`` gives engine, engine_version, dtype, cpu and tokenizer_template of the key. Greedy decoding
    of a pinned model does not depend on seed or repeat, so its key does not either.
    """

    def __init__(self, inner: Caller, cache: GenerationCache, identity: Identity) -> None:
        self._inner = inner
        self._cache = cache
        self._identity = identity
        self._under_way: dict[str, asyncio.Future[Answer]] = {}
        self._unsaved: dict[str, bytes] = {}
        self._saved = time.monotonic()
        self.hits = 0
        self.misses = 0

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The cached generation, or that of the inner caller."""
        key = self._key(model, request, repeat)
        kept = self._unsaved.get(key) or self._cache.get_many([key]).get(key)
        if kept is not None:
            self.hits += 1
            return Answer(Generation(**orjson.loads(kept)), cached=True)
        if key in self._under_way:
            answer = await asyncio.shield(self._under_way[key])
            return Answer(answer.generation, cached=True)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        try:
            answer = await self._inner.ask(model, request, repeat)
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else StepError("cancelled", transient=True))
            future.exception()
            raise
        finally:
            del self._under_way[key]
        self.misses += 1
        future.set_result(answer)
        self._keep(key, answer.generation)
        return answer

    def _keep(self, key: str, generation: Generation) -> None:
        self._unsaved[key] = orjson.dumps(generation)
        # A transaction for each answer of a fast model costs as much as the call; of a slow one none may be lost.
        if len(self._unsaved) >= _MOST_UNSAVED or time.monotonic() - self._saved >= _UNSAVED_S:
            self.flush()

    def flush(self) -> None:
        """Write what is not yet on disk."""
        if self._unsaved:
            self._cache.put_many(self._unsaved)
            self._unsaved.clear()
        self._saved = time.monotonic()

    def _key(self, model: Model, request: GenerationRequest, repeat: int) -> str:
        decoding = plain_fields(request.decoding)
        # No step asks for it, and answers that were kept before it existed stay what they are.
        decoding.pop("ignore_eos")
        if model.pinned and request.decoding.temperature == 0:
            decoding["seed"], repeat = 0, 0
        return generation_key(
            model=model.digest,
            adapter=request.adapter or "",
            messages=[[message.role, message.content] for message in request.messages],
            decoding=decoding,
            output=plain_fields(request.output),
            seed=decoding.pop("seed"),
            repeat=repeat,
            **self._identity(model),
        )


def plain_fields(record: Decoding | Output) -> dict[str, Any]:
    """The record's fields by name; unlike ``asdict`` without copying what they hold."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
