"""The OpenAI-compatible HTTP surface over models, apps and embedders.

Every response carries ``x-request-id``; an answer also ``x-signoff-digest``, the digest of what answered. Nothing but
``/health`` and ``/ready`` is open to callers whom the gateway's ``access`` does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from harness.serve.gateway.access import require
from harness.serve.gateway.api_errors import ApiError, as_api_error
from harness.serve.gateway.catalogue import Catalogue
from harness.serve.gateway.drain import draining
from harness.serve.gateway.embeddings import ServedEmbedder
from harness.serve.gateway.feedback import FeedbackBook, feedback_route
from harness.serve.gateway.lifecycle import Lifecycle
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.pipeline import Pipeline
from harness.serve.gateway.replies import Body, reply
from harness.serve.gateway.reporting import RequestIds, report
from harness.serve.gateway.served import ServedApp, ServedModel
from harness.spec.serving import Serving

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

Endpoint = Callable[["Request"], Awaitable["ASGIApp"]]


def create_app(
    models: Mapping[str, ServedModel],
    apps: Mapping[str, ServedApp],
    parts: Parts | None = None,
    settings: Serving | None = None,
    *,
    embedders: Mapping[str, ServedEmbedder] | None = None,
    lifecycle: Lifecycle | None = None,
) -> FastAPI:
    """The gateway as an ASGI application; raises UsageError when two served things share a name."""
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException

    gateway = Gateway(Catalogue(models, apps, embedders), parts or Parts(), settings or Serving(), lifecycle)
    app = FastAPI(title="Signoff", docs_url=None, redoc_url=None, openapi_url=None, lifespan=gateway.lifespan)
    app.state.gateway = gateway
    for path, method, endpoint in gateway.routes():
        app.add_route(path, _guarded(endpoint), methods=[method])  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(RequestIds)
    return app


class Gateway:
    """The endpoints, and what they share."""

    def __init__(self, catalogue: Catalogue, parts: Parts, settings: Serving, lifecycle: Lifecycle | None) -> None:
        self.catalogue, self.parts, self.settings = catalogue, parts, settings
        self.lifecycle = lifecycle or Lifecycle()
        self.pipeline = Pipeline(catalogue, parts, settings.limits)

    def routes(self) -> list[tuple[str, str, Endpoint]]:
        """Path, method and endpoint of every route."""
        found: list[tuple[str, str, Endpoint]] = [
            ("/v1/chat/completions", "POST", self._chat),
            ("/v1/completions", "POST", self._completions),
            ("/v1/embeddings", "POST", self.pipeline.embed),
            ("/v1/models", "GET", self._list_models),
            ("/v1/models/{name:path}", "GET", self._one_model),
            ("/health", "GET", self._health),
            ("/ready", "GET", self._ready),
            ("/admin/status", "GET", self._status),
        ]
        if self.parts.figures is not None:
            found.append(("/metrics", "GET", self._metrics))
        if self.parts.feedback is not None:
            found.append(("/v1/feedback", "POST", self._feedback(self.parts.feedback)))
        return found

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Load what is to be loaded while the server starts, and close everything when it ends."""
        loading = asyncio.create_task(self.lifecycle.load())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await self.pipeline.close()
            await self.lifecycle.close()

    async def _chat(self, request: Request) -> ASGIApp:
        return await self.pipeline.generate(request, "chat")

    async def _completions(self, request: Request) -> ASGIApp:
        return await self.pipeline.generate(request, "completions")

    async def _list_models(self, request: Request) -> ASGIApp:
        principal = self.parts.access.identify(request.headers)
        return reply({"object": "list", "data": self.catalogue.cards(principal)})

    async def _one_model(self, request: Request) -> ASGIApp:
        principal = self.parts.access.identify(request.headers)
        return reply(self.catalogue.card(principal, request.path_params["name"]))

    def _feedback(self, book: FeedbackBook) -> Endpoint:
        take = feedback_route(book, self.settings.limits)

        async def endpoint(request: Request) -> ASGIApp:
            principal = self.parts.access.identify(request.headers)
            place = self.parts.limiter.admit(principal)
            try:
                return await take(request, principal)
            finally:
                place.settle(0)

        return endpoint

    async def _health(self, _: Request) -> ASGIApp:
        return reply({"status": "ok"})

    async def _ready(self, request: Request) -> ASGIApp:
        why = "draining" if draining(request.scope) else self.lifecycle.why_not_ready
        if why is not None:
            raise ApiError(503, f"not ready: {why}", code="not_ready", headers={"retry-after": "1"})
        return reply({"status": "ready"})

    async def _metrics(self, request: Request) -> ASGIApp:
        require(self.parts.access.identify(request.headers), "operator")
        figures = self.parts.figures
        assert figures is not None
        # Writing thousands of lines takes tens of milliseconds, for which no answer should stand still.
        return Body(await asyncio.to_thread(figures.render), media_type=figures.content_type)

    async def _status(self, request: Request) -> ASGIApp:
        require(self.parts.access.identify(request.headers), "operator")
        ready = self.lifecycle.why_not_ready is None and not draining(request.scope)
        return reply({"ready": ready, "in_flight": self.pipeline.in_flight, **self.lifecycle.status()})


def _guarded(endpoint: Endpoint) -> Endpoint:
    """``endpoint`` with every exception turned into the one shape of error."""

    async def call(request: Request) -> ASGIApp:
        try:
            return await endpoint(request)
        except Exception as problem:
            report(problem, request.state.request_id)
            return as_api_error(problem).response()

    return call


async def _refused(_: Request, problem: Exception) -> Response:
    """Unknown routes and methods, which no endpoint of ours has seen."""
    return as_api_error(problem).response()
