"""The engine ``openai``: a model behind any OpenAI-compatible endpoint, served like one of this process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import aiohttp

from harness.errors import SignoffError
from harness.serve.protocol import (
    ChoiceOutput,
    Delta,
    EngineIdentity,
    Generation,
    GenerationRequest,
    JsonOutput,
    RequestError,
)
from harness.serve.remote.address import Endpoint
from harness.serve.remote.answers import AnswerReader, read_answer
from harness.serve.remote.contract import Contracts
from harness.serve.remote.events import EventReader
from harness.serve.remote.record import Contract
from harness.serve.remote.transport import fault, opened, pieces, post, refusal, session, whole
from harness.serve.remote.turns import Turns
from harness.serve.remote.wire import path_of, request_body, streamed
from harness.spec.models import Model

# Raised whenever another body is sent for the same request: it is part of every generation's cache key.
WIRE_REVISION = 1


class RemoteEngine:
    """A ``Generator`` over the endpoint of ``model``.

    Before the first request the endpoint's contract is looked up or probed; what it does not honour is a
    RequestError that names the field, and is never sent. OverloadedError when the endpoint has no room,
    EndpointError for every other failure: an answer is complete or it is an error.

    A request's ``adapter`` is a name in the model's ``adapters``. Requests to an endpoint whose requests break each
    other off are sent one after the other; to one that mixes adapters up, one adapter at a time.
    """

    def __init__(self, model: Model, contracts: Contracts, client: aiohttp.ClientSession | None = None) -> None:
        self._model = model
        self._contracts = contracts
        self._client = client
        self._endpoint = Endpoint.of(model)
        self._turns = Turns()

    @property
    def identity(self) -> EngineIdentity:
        """All that is known of what answers: the engine's name and the version that ``model.yaml`` gives it."""
        return EngineIdentity("openai", endpoint_version(self._model), "", "", "")

    async def generate(self, request: GenerationRequest) -> Generation:
        """The finished answer."""
        endpoint, contract = await self._admitted(request, stream=False)
        body = contract.fitted(request_body(request, endpoint.model_id))
        async with self._turns.turn(await self._kind(endpoint, contract)):
            started = time.perf_counter()
            reply = await post(self._client or session(), endpoint, path_of(request), body)
            return read_answer(reply.content, request, endpoint, _since(started))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta | Generation, None]:
        """Pieces of text as they come, then the finished generation. Closing it hangs up."""
        endpoint, contract = await self._admitted(request, stream=True)
        if isinstance(request.output, ChoiceOutput) or not contract.streams(request):
            # Half an option means nothing; and what cannot be streamed may be declared to come in one piece.
            found = await self.generate(request)
            yield Delta(found.text, found.logprobs or ())
            yield found
            return
        body = streamed(contract.fitted(request_body(request, endpoint.model_id)))
        kind = await self._kind(endpoint, contract)
        async with self._turns.turn(kind), aclosing(self._read(request, endpoint, body)) as read:
            async for piece in read:
                yield piece

    async def _read(
        self, request: GenerationRequest, endpoint: Endpoint, body: dict[str, object]
    ) -> AsyncGenerator[Delta | Generation, None]:
        started = time.perf_counter()
        events, reader = EventReader(endpoint), AnswerReader(request, endpoint)
        async with opened(self._client or session(), endpoint, "POST", path_of(request), body) as answer:
            if answer.status != 200:
                raise refusal(endpoint, await whole(answer, endpoint))
            async with aclosing(_chunks(answer, endpoint, events)) as chunks:
                async for chunk in chunks:
                    delta = reader.delta(chunk)
                    if delta is not None:
                        yield delta
            if not events.done:
                raise fault(endpoint, "the stream ended without [DONE]: the answer is not complete", transient=True)
            yield reader.generation(_since(started))

    async def _admitted(self, request: GenerationRequest, *, stream: bool) -> tuple[Endpoint, Contract]:
        if request.prompt is not None and isinstance(request.output, ChoiceOutput | JsonOutput):
            raise RequestError("a raw prompt cannot be answered in a given form; send messages", "prompt")
        contract = await self._contracts.of(self._endpoint)
        contract.check(request, stream=stream, tolerates=self._model.tolerates)
        if request.adapter is None:
            return self._endpoint, contract
        served = self._model.adapters.get(request.adapter)
        if served is None:
            known = ", ".join(self._model.adapters) or "none"
            message = f"model {self._model.name!r} has no adapter {request.adapter!r}; model.yaml names: {known}"
            raise RequestError(message, "model")
        endpoint = replace(self._endpoint, model_id=served, label=f"{self._endpoint.label} with {request.adapter!r}")
        await self._require_effect(endpoint)
        return endpoint, contract

    async def _require_effect(self, endpoint: Endpoint) -> None:
        found = (await self._contracts.of_adapter(endpoint, self._endpoint)).features["chat"]
        if found.status != "honoured":
            raise SignoffError(f"{endpoint.where}: served as {endpoint.model_id!r}, {found.evidence}")

    async def _kind(self, endpoint: Endpoint, contract: Contract) -> object:
        """What may be under way together with this request: None for anything."""
        if contract.status("parallel") == "ignored":
            return object()
        for served in self._model.adapters.values():
            found = await self._contracts.of_adapter(replace(self._endpoint, model_id=served), self._endpoint)
            if found.honours("chat") and not found.honours("batch_exact"):
                return endpoint.model_id
        return None


class Remotes:
    """Gives the engine of each remote model; they share contracts and connections."""

    def __init__(self, contracts: Contracts | None = None, client: aiohttp.ClientSession | None = None) -> None:
        self._contracts = contracts or Contracts(client=client)
        self._client = client
        self._engines: dict[tuple[object, ...], RemoteEngine] = {}

    def of(self, model: Model) -> RemoteEngine:
        """The engine of ``model``, whose ``engine`` is ``openai``."""
        key = (model.digest, model.name, model.api_key_env, model.timeout_s)
        if key not in self._engines:
            self._engines[key] = RemoteEngine(model, self._contracts, self._client)
        return self._engines[key]


def endpoint_version(model: Model) -> str:
    """What a cache must know of a remote engine: the owner's word for it, and how it is asked."""
    return f"{model.version}/w{WIRE_REVISION}"


async def _chunks(answer: aiohttp.ClientResponse, endpoint: Endpoint, events: EventReader) -> AsyncGenerator[Any, None]:
    async with aclosing(pieces(answer, endpoint)) as content:
        async for piece in content:
            for chunk in events.feed(piece):
                yield chunk
            if events.done:
                return
    for chunk in events.end():
        yield chunk


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
