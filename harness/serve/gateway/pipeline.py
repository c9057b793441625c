"""One request from its first byte to its last: admitted, looked up, answered, kept, and told to the observers once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from harness.serve.gateway.admission import Admission, Admitted
from harness.serve.gateway.answers import Answered, again, whole
from harness.serve.gateway.catalogue import Catalogue
from harness.serve.gateway.chat_request import ChatRequest
from harness.serve.gateway.envelopes import ChatEnvelope, CompletionEnvelope, Envelope
from harness.serve.gateway.event_stream import EventStream
from harness.serve.gateway.kept_answers import Found, KeptAnswers
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.presence import while_connected
from harness.serve.gateway.replies import Body
from harness.serve.gateway.running import Running
from harness.serve.gateway.sampled import Sampled
from harness.serve.gateway.served import Tokens
from harness.serve.gateway.shadows import Shadows
from harness.serve.gateway.target import AppTarget
from harness.serve.gateway.turn import Route, Turn
from harness.spec.serving import Limits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp


class Pipeline:
    """Answers chats, completions and embeddings. ``in_flight`` counts the requests that are not over."""

    def __init__(self, catalogue: Catalogue, parts: Parts, limits: Limits) -> None:
        self._parts = parts
        self._admission = Admission(catalogue, parts, limits)
        self.shadows = Shadows(catalogue.apps, parts)
        self.kept = KeptAnswers(parts.cache)
        self.in_flight = 0

    async def generate(self, request: Request, route: Route) -> ASGIApp:
        """The answer to a chat or a completion, as a response that is still to be sent."""
        running = self._begin(request, route)
        try:
            admitted = await self._admission.generating(request, running)
            found = self.kept.look_up(request.headers, running.turn, admitted.target, fresh=_traced(admitted.body))
            pieces = again(found.answer) if found.answer else admitted.target.ask(stream=admitted.body.stream)
            envelope = _envelope(running.turn, admitted)
            if admitted.body.stream:
                over = partial(self._finish, running, admitted, found)
                return EventStream(running.noted(pieces), envelope, _headers(running.turn), over)
            answer = await while_connected(request.receive, whole(pieces))
        except BaseException as problem:
            self._over(running, problem)
            raise
        self._finish(running, admitted, found, answer, None)
        return Body(envelope.whole(answer), _headers(running.turn))

    async def embed(self, request: Request) -> ASGIApp:
        """The vectors of some texts."""
        running = self._begin(request, "embeddings")
        try:
            body, served, embedder = await self._admission.embedding(request, running)
            found = await asyncio.to_thread(embedder.embed, body.texts(), body.dimensions)
            running.turn.tokens = Tokens(sum(each.tokens for each in found))
        except BaseException as problem:
            self._over(running, problem)
            raise
        self._over(running, None)
        return Body(body.answer(found, served.digest), _headers(running.turn))

    async def close(self) -> None:
        """End what runs in the background."""
        await self.shadows.close()

    def _begin(self, request: Request, route: Route) -> Running:
        self.in_flight += 1
        turn = Turn(request.state.request_id, route, traceparent=request.headers.get("traceparent", ""))
        return Running(turn, self._parts.observers)

    def _over(self, running: Running, problem: BaseException | None) -> None:
        self.in_flight -= 1
        running.over(problem)

    def _finish(
        self,
        running: Running,
        admitted: Admitted,
        found: Found,
        answer: Answered | None,
        problem: BaseException | None,
    ) -> None:
        if answer is not None:
            running.answered(answer)
        self._over(running, problem)
        if answer is None or problem is not None:
            return
        self.kept.keep(found, admitted.target, answer)
        if admitted.shadows and isinstance(admitted.target, AppTarget):
            self.shadows.start(admitted.shadows, admitted.target.request, running.turn)


def _traced(body: Sampled) -> bool:
    return isinstance(body, ChatRequest) and body.trace


def _envelope(turn: Turn, admitted: Admitted) -> Envelope:
    body = admitted.body
    kind = ChatEnvelope if turn.route == "chat" else CompletionEnvelope
    return kind(
        turn.response_id,
        body.model,
        logprobs=body.wants_logprobs,
        trace=_traced(body),
        usage=body.include_usage,
        continuous=body.continuous_usage,
    )


def _headers(turn: Turn) -> dict[str, str]:
    told = {"x-signoff-digest": turn.digest, "x-signoff-arm": turn.arm}
    if turn.cache != "off":
        told["x-signoff-cache"] = turn.cache
    return {name: value for name, value in told.items() if value}
