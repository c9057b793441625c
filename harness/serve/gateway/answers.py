"""Answering one request, by a model or an app: pieces of text as they come, each finished choice, then the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from harness.errors import SignoffError
from harness.serve.gateway.sampled import seed_of
from harness.serve.gateway.served import AppRequest, AppResponse, ServedApp, ServedModel, StreamingApp, Tokens
from harness.serve.protocol import Delta, FinishReason, Generation, GenerationRequest, TokenLogprob

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of one choice, and the tokens behind it if they were asked for; ``tokens`` so far, if counted by now."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One finished choice. ``scores`` for a choice among options."""

    index: int
    text: str
    finish_reason: FinishReason
    scores: Mapping[str, float] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer. ``steps`` is what each step of an app did; times are those of the slowest choice of a model."""

    choices: tuple[Choice, ...]
    tokens: Tokens
    digest: str
    steps: Mapping[str, Any] = field(default_factory=dict)
    latency_ms: float | None = None
    queue_ms: float | None = None


Pieces = AsyncGenerator[Piece | Choice | Answered, None]


async def ask_model(model: ServedModel, requests: Sequence[GenerationRequest], prompts: int, *, stream: bool) -> Pieces:
    """The answer to ``requests``, one for each choice, those of each of the ``prompts`` together."""
    engine = await model.engine()
    found: dict[int, Generation] = {}
    parts = [engine.stream(one) if stream else _only(engine.generate(one)) for one in requests]
    async with aclosing(_merged(parts)) as merged:
        async for index, part in merged:
            if isinstance(part, Delta):
                so_far = Tokens(part.prompt_tokens, part.completion_tokens) if part.completion_tokens else None
                yield Piece(index, part.text, part.logprobs, so_far)
            else:
                found[index] = part
                yield Choice(index, part.text, part.finish_reason, part.scores, part.logprobs)
    yield _of_generations([found[index] for index in range(len(requests))], prompts, model.digest)


async def ask_app(app: ServedApp, request: AppRequest, choices: int = 1, *, stream: bool) -> Pieces:
    """The app's answer, ``choices`` times; in one piece each, unless the app can stream its last step."""
    asked = [request] + [
        replace(request, seed=seed_of(request.seed or 0, index), repeat=request.repeat) for index in range(1, choices)
    ]
    found: dict[int, AppResponse] = {}
    async with aclosing(_merged([_app_parts(app, one, stream) for one in asked])) as merged:
        async for index, part in merged:
            if isinstance(part, Delta):
                yield Piece(index, part.text)
            else:
                found[index] = part
                yield Choice(index, part.text, part.finish_reason)
    responses = [found[index] for index in range(choices)]
    yield Answered(
        tuple(Choice(index, one.text, one.finish_reason) for index, one in enumerate(responses)),
        _sum(one.tokens for one in responses),
        responses[0].digest,
        responses[0].steps,
    )


async def whole(pieces: Pieces) -> Answered:
    """The answer, without its pieces."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answered):
                return piece
    raise SignoffError("the answer ended before it was complete")


async def again(answer: Answered) -> Pieces:
    """A finished answer as if it came now."""
    for choice in answer.choices:
        yield Piece(choice.index, choice.text, choice.logprobs or ())
        yield choice
    yield answer


async def _app_parts(app: ServedApp, request: AppRequest, stream: bool) -> AsyncGenerator[Delta | AppResponse, None]:
    if stream and isinstance(app, StreamingApp):
        async with _closing(app.stream(request)) as parts:
            async for part in parts:
                yield part
        return
    response = await app.respond(request)
    if stream:
        yield Delta(response.text)
    yield response


async def _only(answer: Any) -> AsyncGenerator[Generation, None]:
    yield await answer


async def _merged(sources: Sequence[AsyncIterator[_T]]) -> AsyncGenerator[tuple[int, _T], None]:
    """The items of all ``sources`` as they come, with the source's place; the first failure ends them all."""
    if len(sources) == 1:
        async with _closing(sources[0]) as only:
            async for item in only:
                yield 0, item
        return
    inbox: asyncio.Queue[tuple[int, _T | _End]] = asyncio.Queue()
    pumps = [asyncio.create_task(_pump(index, source, inbox)) for index, source in enumerate(sources)]
    try:
        left = len(pumps)
        while left:
            index, found = await inbox.get()
            if not isinstance(found, _End):
                yield index, found
                continue
            if found.problem is not None:
                raise found.problem
            left -= 1
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _End:
    problem: Exception | None = None


async def _pump(index: int, source: AsyncIterator[_T], inbox: asyncio.Queue[tuple[int, _T | _End]]) -> None:
    try:
        async with _closing(source):
            async for item in source:
                inbox.put_nowait((index, item))
    except Exception as problem:
        inbox.put_nowait((index, _End(problem)))
    else:
        inbox.put_nowait((index, _End()))


@asynccontextmanager
async def _closing(pieces: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """``pieces``, closed at once on leaving, so that an abandoned answer stops being computed."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def _of_generations(found: Sequence[Generation], prompts: int, digest: str) -> Answered:
    choices = tuple(
        Choice(index, one.text, one.finish_reason, one.scores, one.logprobs) for index, one in enumerate(found)
    )
    # Every prompt is read once, however many choices continue it.
    firsts = found[:: len(found) // prompts]
    tokens = Tokens(
        sum(one.prompt_tokens for one in firsts),
        sum(one.completion_tokens for one in found),
        sum(one.cached_prompt_tokens for one in firsts),
    )
    latency, queue = max(one.latency_ms for one in found), max(one.queue_ms for one in found)
    return Answered(choices, tokens, digest, latency_ms=latency, queue_ms=queue)


def _sum(tokens: Any) -> Tokens:
    found = list(tokens)
    return Tokens(*(sum(getattr(one, name) for one in found) for name in ("prompt", "completion", "cached_prompt")))
