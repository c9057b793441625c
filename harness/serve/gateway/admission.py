"""From an HTTP request to a call that may be answered: who asks, what for, and whether there is room."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.serve.gateway.access import require
from harness.serve.gateway.body import read_body
from harness.serve.gateway.catalogue import Catalogue
from harness.serve.gateway.chat_request import ChatRequest
from harness.serve.gateway.completions import CompletionRequest
from harness.serve.gateway.content_limits import check_content
from harness.serve.gateway.embeddings import Embedder, EmbeddingRequest, ServedEmbedder
from harness.serve.gateway.fields import parse
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.running import Running
from harness.serve.gateway.sampled import Sampled
from harness.serve.gateway.target import AppTarget, ModelTarget, Target
from harness.spec.serving import Limits

if TYPE_CHECKING:
    from starlette.requests import Request

    from harness.serve.gateway.feedback import Prefix

_NAME_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be answered; ``shadows`` are the variants that are asked as well."""

    body: Sampled
    target: Target
    shadows: tuple[str, ...] = ()


class Admission:
    """Lets requests in, or raises ApiError or RequestError for them. Fills their turns as far as they come."""

    def __init__(self, catalogue: Catalogue, parts: Parts, limits: Limits) -> None:
        self._catalogue, self._parts, self._limits = catalogue, parts, limits

    async def generating(self, request: Request, running: Running) -> Admitted:
        """A chat or a completion."""
        turn = running.turn
        raw = await self._read(request, running)
        body: Sampled = parse(raw, ChatRequest if turn.route == "chat" else CompletionRequest)
        turn.asked, turn.stream, turn.user = body.model[:_NAME_SHOWN], body.stream, body.user or ""
        self._catalogue.generating(turn.principal, body.model)
        if isinstance(body, ChatRequest) and body.trace:
            # What the steps saw and gave is more than the app shows its users.
            require(turn.principal, "operator")
        check_content(body, self._limits)
        turn.response_id = self._answer_id(running)
        shadows: tuple[str, ...] = ()
        target: Target
        if body.model in self._catalogue.apps:
            arm = self._parts.traffic.arm(body.model, turn.user, turn.response_id)
            if arm is not None:
                turn.arm, turn.assigned, shadows = arm.name, arm.by, arm.shadows
            turn.app = body.model
            target = AppTarget.of(self._catalogue.apps[arm.serves if arm else body.model], body)
        else:
            target = ModelTarget.of(self._catalogue.models[body.model], body)
        target.tell(turn)
        turn.digest, turn.input = target.digest, body.shown() if running.observers else ""
        _reserve(running, target.estimate)
        return Admitted(body, target, shadows)

    async def embedding(self, request: Request, running: Running) -> tuple[EmbeddingRequest, ServedEmbedder, Embedder]:
        """Texts to embed."""
        turn = running.turn
        body = parse(await self._read(request, running), EmbeddingRequest)
        turn.asked, turn.user = body.model[:_NAME_SHOWN], body.user or ""
        served = self._catalogue.embedding(turn.principal, body.model)
        turn.model, turn.digest = served.name, served.digest
        embedder = await served.embedder()
        body.check(self._limits, embedder.sizes)
        _reserve(running, body.estimated_tokens())
        return body, served, embedder

    async def _read(self, request: Request, running: Running) -> bytes:
        """The body; a request beyond the limits is turned away before anything of it is read."""
        principal = running.turn.principal = self._parts.access.identify(request.headers)
        running.reservation = self._parts.limiter.admit(principal)
        return await read_body(request, self._limits)

    def _answer_id(self, running: Running) -> str:
        prefix: Prefix = "chatcmpl" if running.turn.route == "chat" else "cmpl"
        if self._parts.feedback is None:
            return f"{prefix}-{uuid.uuid4().hex}"
        return self._parts.feedback.response_id(running.turn.id, running.turn.principal.key_id, prefix)


def _reserve(running: Running, tokens: int) -> None:
    assert running.reservation is not None
    running.estimate = tokens
    running.reservation.reserve(tokens)
