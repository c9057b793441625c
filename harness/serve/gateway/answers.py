"""Answering one chat request, by a model or an app, and writing the answer in OpenAI's shapes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from harness.errors import SignoffError
from harness.serve.gateway.chat_request import ChatRequest
from harness.serve.gateway.served import AppResponse, ServedApp, ServedModel, StreamingApp, Tokens
from harness.serve.protocol import Delta, FinishReason, Generation

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answered:
    """A finished answer. ``scores`` for a choice; ``steps`` if an app was asked for a trace."""

    text: str
    finish_reason: FinishReason
    tokens: Tokens
    digest: str
    scores: Mapping[str, float] | None = None
    steps: Mapping[str, Any] | None = None


Pieces = AsyncGenerator[str | Answered, None]


async def ask_model(model: ServedModel, chat: ChatRequest) -> Pieces:
    """Pieces of a model's text, then the answer."""
    request = chat.for_model()
    engine = await model.engine()
    if not chat.stream:
        yield _of_generation(await engine.generate(request), model.digest)
        return
    async with _closing(engine.stream(request)) as pieces:
        async for piece in pieces:
            yield piece.text if isinstance(piece, Delta) else _of_generation(piece, model.digest)


async def ask_app(app: ServedApp, chat: ChatRequest) -> Pieces:
    """Pieces of an app's text (one, unless the app can stream its last step), then the answer."""
    request = chat.for_app()
    if chat.stream and isinstance(app, StreamingApp):
        async with _closing(app.stream(request)) as pieces:
            async for piece in pieces:
                yield piece.text if isinstance(piece, Delta) else _of_response(piece, request.trace)
        return
    response = await app.respond(request)
    if chat.stream:
        yield response.text
    yield _of_response(response, request.trace)


@asynccontextmanager
async def _closing(pieces: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """``pieces``, closed at once on leaving, so that an abandoned answer stops being computed."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def _of_generation(found: Generation, digest: str) -> Answered:
    tokens = Tokens(found.prompt_tokens, found.completion_tokens, found.cached_prompt_tokens)
    return Answered(found.text, found.finish_reason, tokens, digest, found.scores)


def _of_response(found: AppResponse, trace: bool) -> Answered:
    return Answered(found.text, found.finish_reason, found.tokens, found.digest, steps=found.steps if trace else None)


async def whole(pieces: Pieces) -> Answered:
    """The answer, without its pieces."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Answered):
                return piece
    raise SignoffError("the answer ended before it was complete")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all chunks of one answer share."""

    id: str
    model: str
    created: int

    @classmethod
    def of(cls, request_id: str, model: str) -> Envelope:
        """An envelope that starts now."""
        return cls(f"chatcmpl-{request_id}", model, int(time.time()))

    def completion(self, answer: Answered) -> bytes:
        """The body of an answer that was not streamed."""
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "finish_reason": answer.finish_reason,
            **_scores(answer),
        }
        return orjson.dumps(
            {
                "id": self.id,
                "object": "chat.completion",
                "created": self.created,
                "model": self.model,
                "system_fingerprint": answer.digest,
                "choices": [choice],
                "usage": _usage(answer.tokens),
                "signoff": _signoff(answer),
            }
        )

    def chunk(self, delta: Mapping[str, str], last: Answered | None = None) -> bytes:
        """One event of a stream; ``last`` closes the choice."""
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": last.finish_reason if last else None}
        more: dict[str, Any] = {}
        if last is not None:
            choice |= _scores(last)
            more = {"system_fingerprint": last.digest, "signoff": _signoff(last)}
        return self._event({"choices": [choice], **more})

    def usage(self, tokens: Tokens) -> bytes:
        """The event that counts tokens; its choices are empty."""
        return self._event({"choices": [], "usage": _usage(tokens)})

    def _event(self, fields: Mapping[str, Any]) -> bytes:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return sse({**head, **fields})


def sse(data: Mapping[str, Any]) -> bytes:
    """``data`` as one server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _scores(answer: Answered) -> dict[str, Any]:
    return {} if answer.scores is None else {"choice_scores": dict(answer.scores)}


def _signoff(answer: Answered) -> dict[str, Any]:
    return {"digest": answer.digest} if answer.steps is None else {"digest": answer.digest, "steps": dict(answer.steps)}


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_prompt},
    }
