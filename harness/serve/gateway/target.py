"""What answers one request: the model or app behind the name, what is known of the answer before it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.serve.gateway import answer_codec
from harness.serve.gateway.answers import Pieces, ask_app, ask_model
from harness.serve.gateway.api_errors import invalid
from harness.serve.gateway.content_limits import estimated_tokens
from harness.serve.gateway.sampled import Sampled
from harness.serve.gateway.served import AppRequest, Forecast, ForeseeableApp, ServedApp, ServedModel
from harness.serve.gateway.turn import Turn
from harness.serve.protocol import GenerationRequest


class Target(Protocol):
    """A request that can be answered. Nothing is computed before ``ask``."""

    @property
    def digest(self) -> str:
        """The digest of what will answer; empty when only the answer can tell."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether the same request has the same answer, so that it may be kept."""
        ...

    @property
    def estimate(self) -> int:
        """About how many tokens the answer will use."""
        ...

    def canonical(self) -> Mapping[str, object]:
        """All that decides the answer beside the digest."""
        ...

    def ask(self, *, stream: bool) -> Pieces:
        """The answer."""
        ...

    def tell(self, turn: Turn) -> None:
        """Note what answers."""
        ...


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """A bare model or adapter."""

    model: ServedModel
    requests: list[GenerationRequest]
    prompts: int
    estimate: int
    seeded: bool

    @classmethod
    def of(cls, model: ServedModel, body: Sampled) -> ModelTarget:
        """Read ``body`` as a model call; ApiError or RequestError that names the field at fault."""
        requests = body.for_model(body.seeded(), model.adapter)
        if body.ignore_eos and not model.pinned:
            raise invalid("ignore_eos is for models that run here; this one is behind an endpoint", "ignore_eos")
        return cls(model, requests, body.prompts, estimated_tokens(body), body.seed is not None)

    @property
    def digest(self) -> str:
        """The model's own."""
        return self.model.digest

    @property
    def repeatable(self) -> bool:
        """True for greedy decoding and for draws whose seed was sent, by a model whose bytes are known."""
        return self.model.pinned and (self.requests[0].decoding.temperature == 0 or self.seeded)

    def canonical(self) -> Mapping[str, object]:
        """The calls, one a choice."""
        return answer_codec.model_request(self.requests)

    def ask(self, *, stream: bool) -> Pieces:
        """The model's answer."""
        return ask_model(self.model, self.requests, self.prompts, stream=stream)

    def tell(self, turn: Turn) -> None:
        """Note model and adapter, and how tokens are drawn."""
        model, decoding = self.model, self.requests[0].decoding
        turn.model, turn.adapter = model.parent or model.name, model.name if model.parent else ""
        turn.max_tokens, turn.temperature, turn.seed = decoding.max_tokens, decoding.temperature, decoding.seed


@dataclass(frozen=True, slots=True)
class AppTarget:
    """An app, or the arm of one."""

    app: ServedApp
    request: AppRequest
    choices: int
    estimate: int
    forecast: Forecast | None

    @classmethod
    def of(cls, app: ServedApp, body: Sampled) -> AppTarget:
        """Read ``body`` as a call of the app; ApiError or RequestError that names the field at fault."""
        request = body.for_app(body.seed)
        forecast = app.forecast(request) if isinstance(app, ForeseeableApp) else None
        estimate = estimated_tokens(body, forecast.tokens if forecast else None)
        return cls(app, request, body.n, estimate, forecast)

    @property
    def digest(self) -> str:
        """The effective one, if the app knows it; its own, if nothing is overridden."""
        if self.forecast is not None:
            return self.forecast.digest
        return "" if self.request.overrides else self.app.digest

    @property
    def repeatable(self) -> bool:
        """What the app says of itself."""
        return self.forecast is not None and self.forecast.repeatable

    def canonical(self) -> Mapping[str, object]:
        """The call."""
        return answer_codec.app_request(self.request, self.choices)

    def ask(self, *, stream: bool) -> Pieces:
        """The app's answer."""
        return ask_app(self.app, self.request, self.choices, stream=stream)

    def tell(self, turn: Turn) -> None:
        """Note the call; the app's name is the one that was asked for, whichever arm answers."""
        overrides = self.request.overrides
        turn.max_tokens, turn.temperature, turn.seed = overrides.max_tokens, overrides.temperature, self.request.seed
