"""Who answers a step's model call: an endpoint over HTTP, an engine in this process, or the cache before them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson

from harness.errors import SignoffError, UsageError
from harness.serve.protocol import ChoiceOutput, Decoding, Generation, GenerationRequest, JsonOutput, Output
from harness.spec.models import Model
from harness.store import GenerationCache, generation_key

TRANSIENT_STATUS = frozenset({408, 429, 502, 503, 504})
_MOST_UNSAVED = 512
_UNSAVED_S = 0.25


class StepError(SignoffError):
    """A step failed. ``transient`` errors come from the transport and may be tried again."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


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
    """Calls an engine of this process, as the gateway does."""

    def __init__(self, engine: Callable[[Model], Awaitable[Any]]) -> None:
        self._engine = engine

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """Generate with the model's engine, which is loaded when it is first needed."""
        engine = await self._engine(model)
        return Answer(await engine.generate(request))


class EndpointCaller:
    """Calls an OpenAI-compatible endpoint. ``base_url(model)`` gives ``http://host:port/v1``.

    A served digest (header ``x-signoff-digest``) that differs from the model's own raises SignoffError:
    what is not under review is not measured.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: Callable[[Model], Awaitable[str]]) -> None:
        self._session = session
        self._base_url = base_url
        self.calls = 0

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """POST chat/completions; transport failures and 408, 429, 502, 503, 504 are transient."""
        url = f"{await self._base_url(model)}/chat/completions"
        self.calls += 1
        try:
            return Answer(await self._post(url, model, request))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            message = f"model {model.name!r} at {url}: {type(error).__name__}: {error}"
            raise StepError(message, transient=True) from error
        except TimeoutError as error:
            message = f"model {model.name!r} at {url}: no answer within {model.timeout_s:g} s"
            raise StepError(message, transient=True) from error

    async def _post(self, url: str, model: Model, request: GenerationRequest) -> Generation:
        timeout = aiohttp.ClientTimeout(total=model.timeout_s if model.engine == "openai" else None)
        data = orjson.dumps(_body(model, request))
        async with self._session.post(url, data=data, headers=_headers(model), timeout=timeout) as answer:
            content = await answer.read()
            if answer.status != 200:
                message = (
                    f"model {model.name!r} at {url}: HTTP {answer.status}: {content[:300].decode(errors='replace')}"
                )
                raise StepError(message, transient=answer.status in TRANSIENT_STATUS)
            served = answer.headers.get("x-signoff-digest")
        if served is not None and served != model.digest:
            message = (
                f"model {model.name!r}: {url} serves {served[:12]}, under review is {model.digest[:12]}; restart it"
            )
            raise SignoffError(message)
        return _generation(content, model, url)


def _headers(model: Model) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if model.api_key_env:
        key = os.environ.get(model.api_key_env)
        if not key:
            variable = model.api_key_env
            message = f"model {model.name!r} takes its key from the environment variable {variable}, which is not set"
            raise UsageError(message)
        headers["authorization"] = f"Bearer {key}"
    return headers


def _body(model: Model, request: GenerationRequest) -> dict[str, Any]:
    decoding = request.decoding
    body: dict[str, Any] = {
        "model": model.served_name,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "seed": decoding.seed,
    }
    if decoding.top_p < 1:
        body["top_p"] = decoding.top_p
    if decoding.top_k:
        body["top_k"] = decoding.top_k
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    if isinstance(request.output, ChoiceOutput):
        body["response_format"] = _choice_format(model, request.output)
    elif isinstance(request.output, JsonOutput):
        body["response_format"] = _json_format(request.output.schema)
    return body


def _choice_format(model: Model, output: ChoiceOutput) -> dict[str, Any]:
    if model.engine == "transformers":
        return {"type": "choice", "options": list(output.options)}
    # Other servers do not rank options; a schema that allows nothing else is what they all understand.
    return _json_format({"type": "string", "enum": list(output.options)})


def _json_format(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": dict(schema)}}


def _generation(content: bytes, model: Model, url: str) -> Generation:
    try:
        body = orjson.loads(content)
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        timing = body.get("signoff") or {}
        return Generation(
            text=choice["message"]["content"] or "",
            finish_reason=choice.get("finish_reason") or "stop",
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage.get("completion_tokens", 0),
            scores=choice.get("choice_scores"),
            latency_ms=timing.get("latency_ms", 0.0),
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        message = f"model {model.name!r} at {url}: not a chat completion: {content[:200].decode(errors='replace')}"
        raise StepError(message) from error


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
