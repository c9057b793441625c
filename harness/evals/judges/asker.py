"""Who asks a judging model: the run's gateway or an endpoint, patiently, and never a model other than the one named."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import orjson

from harness.errors import SignoffError, UsageError
from harness.serve.protocol import Generation, GenerationRequest, OverloadedError, RequestError
from harness.serve.remote import (
    Contract,
    Contracts,
    Endpoint,
    EndpointError,
    path_of,
    post,
    read_answer,
    request_body,
)
from harness.serve.steps.callers import EndpointCaller, StepError
from harness.spec.models import Model

Answer = TypeVar("Answer")

_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 8.0
_MOST_TRIES = 5
_PROBE_S = 300.0


class JudgeError(SignoffError):
    """A judge gave no answer. ``transport``: it could not be reached, had no room, or was somebody else."""

    def __init__(self, message: str, *, transport: bool) -> None:
        super().__init__(message)
        self.transport = transport


class Asker:
    """Asks judging models; ``calls`` counts the requests that were answered, by model.

    A model with bytes of its own is asked over the run's gateway, whose address ``base_url`` gives; an endpoint by
    its contract, as far as that goes.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: Callable[[Model], Awaitable[str]]) -> None:
        self._session = session
        self._contracts = Contracts(client=session)
        self._gateway = EndpointCaller(session, base_url, self._contracts)
        self.calls: Counter[str] = Counter()

    async def ask(self, model: Model, request: GenerationRequest, deadline_s: float) -> Generation:
        """The answer within ``deadline_s``, repetitions and waits included; JudgeError says why there is none.

        An endpoint without room is asked again when it says (``retry-after``), if that is before the deadline.
        UsageError for a key that is not set: nothing can be asked until it is.
        """
        if not model.pinned:
            await self._contract(model)
        generation = await _patiently(model, deadline_s, lambda: self._once(model, request))
        self.calls[model.name] += 1
        return generation

    async def alternatives(self, model: Model, most: int) -> int | None:
        """How many alternatives a text request may ask for: ``most``, or None where the endpoint sends none.

        JudgeError as of ``ask``.
        """
        if model.pinned:
            return most
        return most if (await self._contract(model)).honours("top_logprobs") else None

    async def _contract(self, model: Model) -> Contract:
        endpoint = Endpoint.of(model)
        endpoint.key()
        # Some forty requests the first time: they are not counted against the question that happens to come first.
        return await _patiently(model, _PROBE_S, lambda: self._contracts.of(endpoint))

    async def _once(self, model: Model, request: GenerationRequest) -> Generation:
        if model.pinned:
            return (await self._gateway.ask(model, request, 0)).generation
        endpoint, contract = Endpoint.of(model), await self._contract(model)
        contract.check(request, stream=False, tolerates=model.tolerates)
        body = contract.fitted(request_body(request, endpoint.model_id))
        reply = await post(self._session, endpoint, path_of(request), body)
        _refuse_another(reply.content, endpoint)
        return read_answer(reply.content, request, endpoint)


async def _patiently(model: Model, deadline_s: float, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
    loop = asyncio.get_running_loop()
    end, tries, said = loop.time() + deadline_s, 0, ""
    while True:
        try:
            async with asyncio.timeout_at(end):
                return await attempt()
        except TimeoutError as error:
            message = f"model {model.name!r}: no answer within {deadline_s:g} s{said}"
            raise JudgeError(message, transport=True) from error
        except OverloadedError as error:
            wait, said = error.retry_after_s, f"; the last answer was: {error}"
            if loop.time() + wait > end:
                message = f"{error}; it asks to come back in {wait:g} s, beyond the deadline of {deadline_s:g} s"
                raise JudgeError(message, transport=True) from error
        except (EndpointError, StepError) as error:
            tries, said = tries + 1, f"; the last failure was: {error}"
            wait = min(_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)
            if not error.transient or tries >= _MOST_TRIES or loop.time() + wait > end:
                raise JudgeError(str(error), transport=True) from error
        except RequestError as error:
            raise JudgeError(str(error), transport=False) from error
        except UsageError:
            raise
        except SignoffError as error:
            raise JudgeError(str(error), transport=True) from error
        await asyncio.sleep(wait)


def _refuse_another(content: bytes, endpoint: Endpoint) -> None:
    """EndpointError when the answer says that another model gave it.

    Dated releases of the name that was asked for (``name-2026-01-31``) and names with or without their owner are the
    same model.
    """
    try:
        said = orjson.loads(content).get("model")
    except (ValueError, AttributeError):
        return
    if not isinstance(said, str) or not said:
        return
    asked, given = endpoint.model_id.casefold(), said.casefold()
    same = given == asked or given.startswith(f"{asked}-") or given.split("/")[-1] == asked.split("/")[-1]
    if not same:
        message = f"{endpoint.where}: asked for {endpoint.model_id!r}, answered by {said[:100]!r}"
        raise EndpointError(message)
