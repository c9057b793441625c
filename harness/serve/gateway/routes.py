"""The OpenAI-compatible HTTP surface over models and apps.

``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /v1/models/{id}``, ``GET /health``. Every response carries
``x-request-id``; an answer also ``x-signoff-digest``, the digest of what answered. (A stream whose caller overrides
an app's decoding has it in its last chunk only, because the effective digest is known when the app has run.)
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from harness.errors import UsageError
from harness.serve.gateway.answers import DONE, Answered, Envelope, Pieces, ask_app, ask_model, sse, whole
from harness.serve.gateway.api_errors import ApiError, as_api_error, invalid
from harness.serve.gateway.chat_request import MAX_BODY_BYTES, ChatRequest, parse_chat
from harness.serve.gateway.served import ServedApp, ServedModel

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger("signoff.gateway")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_T = TypeVar("_T")


def create_app(models: Mapping[str, ServedModel], apps: Mapping[str, ServedApp]) -> FastAPI:
    """The gateway as an ASGI application; raises UsageError when a model and an app share a name."""
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException

    both = sorted(models.keys() & apps.keys())
    if both:
        raise UsageError(f"these names mean a model and an app at once: {', '.join(both)}; rename one of each")
    app = FastAPI(title="Signoff", docs_url=None, redoc_url=None, openapi_url=None)
    routes = _Routes(models, apps)
    app.add_route("/v1/chat/completions", _guarded(routes.chat), methods=["POST"])
    app.add_route("/v1/models", _guarded(routes.list_models), methods=["GET"])
    app.add_route("/v1/models/{name:path}", _guarded(routes.one_model), methods=["GET"])
    app.add_route("/health", _guarded(routes.health), methods=["GET"])
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(_RequestIds)
    return app


class _Routes:
    def __init__(self, models: Mapping[str, ServedModel], apps: Mapping[str, ServedApp]) -> None:
        self._models, self._apps = models, apps
        self._created = int(time.time())

    async def health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def list_models(self, _: Request) -> Response:
        return _json({"object": "list", "data": [self._card(name) for name in (*self._apps, *self._models)]})

    async def one_model(self, request: Request) -> Response:
        return _json(self._card(request.path_params["name"]))

    async def chat(self, request: Request) -> Response:
        chat = parse_chat(await _body(request))
        pieces, digest = self._ask(chat)
        envelope = Envelope.of(request.state.request_id, chat.model)
        if not chat.stream:
            answer = await _while_connected(request, whole(pieces))
            return _json(envelope.completion(answer), {"x-signoff-digest": answer.digest})
        from starlette.responses import StreamingResponse

        # The first piece is awaited here, so that a request which cannot be served is an error with a status.
        first = await _while_connected(request, _next(pieces))
        headers = {"cache-control": "no-cache", **({"x-signoff-digest": digest} if digest else {})}
        events = _events(first, pieces, envelope, chat.include_usage)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    def _ask(self, chat: ChatRequest) -> tuple[Pieces, str | None]:
        """The answer to come, and its digest if that is known before the answer."""
        app = self._apps.get(chat.model)
        if app is not None:
            return ask_app(app, chat), None if chat.for_app().overrides else app.digest
        model = self._models.get(chat.model)
        if model is None:
            raise _no_model(chat.model)
        return ask_model(model, chat), model.digest

    def _card(self, name: str) -> dict[str, Any]:
        served = self._apps.get(name) or self._models.get(name)
        if served is None:
            raise _no_model(name)
        kind = "app" if name in self._apps else "model"
        card = {"id": name, "object": "model", "created": self._created, "owned_by": "signoff"}
        return {**card, "kind": kind, "digest": served.digest}


def _no_model(name: str) -> ApiError:
    return ApiError(404, f"The model `{name[:200]}` does not exist", param="model", code="model_not_found")


async def _events(first: str | Answered, rest: Pieces, envelope: Envelope, usage: bool) -> AsyncIterator[bytes]:
    """The events of one stream, from the role to ``[DONE]``."""
    yield envelope.chunk({"role": "assistant", "content": ""})
    try:
        piece = first
        while not isinstance(piece, Answered):
            yield envelope.chunk({"content": piece})
            piece = await _next(rest)
        yield envelope.chunk({}, last=piece)
        if usage:
            yield envelope.usage(piece.tokens)
        yield DONE
    except Exception as problem:
        # The status is sent already; an error event is the only way left to say that the answer is incomplete.
        _report(problem)
        yield sse(as_api_error(problem).body())
    finally:
        await rest.aclose()


async def _next(pieces: Pieces) -> str | Answered:
    """The next piece; a stream that ends without its answer is an error."""
    async for piece in pieces:
        return piece
    raise ApiError(500, "the answer ended before it was complete")


async def _body(request: Request) -> bytes:
    """The request's body; raises ApiError as soon as it is larger than allowed."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise invalid(f"the body is larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


async def _while_connected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``, which is cancelled when the client goes away: nobody would read the answer."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "the client closed the connection")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """``endpoint`` with every exception turned into the one shape of error."""

    async def call(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as problem:
            _report(problem)
            return as_api_error(problem).response()

    return call


async def _refused(_: Request, problem: Exception) -> Response:
    """Unknown routes and methods, which no endpoint of ours has seen."""
    return as_api_error(problem).response()


def _report(problem: Exception) -> None:
    if as_api_error(problem).status >= 500:
        _log.error("a request failed: %s", problem, exc_info=problem)


def _json(data: Any, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import Response

    content = data if isinstance(data, bytes) else orjson.dumps(data)
    return Response(content, media_type="application/json", headers=headers)


class _RequestIds:
    """Gives every request an id: the caller's ``x-request-id`` if it is a plain word, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        await self._app(scope, receive, answer)
