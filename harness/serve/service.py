"""Apps behind the gateway: the same chain that evaluation runs, answering chat requests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from harness.errors import SignoffError
from harness.serve.engine.hub import HubModel, ModelHub, cache_identity
from harness.serve.gateway.served import AppRequest, AppResponse, DecodingOverrides, Tokens
from harness.serve.protocol import GenerationRequest, RequestError
from harness.serve.steps.callers import CachingCaller, Caller, EndpointCaller, EngineCaller
from harness.serve.steps.chain import Call, Chain
from harness.serve.steps.http_step import HttpRunner
from harness.spec.apps import Decoding, LlmStep
from harness.spec.models import Model
from harness.spec.repository import AppFiles, load_repository
from harness.store import GenerationCache, digest_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from harness.serve.steps.callers import Answer


class RoutingCaller:
    """Sends each model to where it runs: engines of this process, or the model's own endpoint."""

    def __init__(self, local: Caller, remote: Caller) -> None:
        self._local = local
        self._remote = remote

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The answer of the engine or of the endpoint."""
        return await (self._local if model.pinned else self._remote).ask(model, request, repeat)


class AppService:
    """One app of one tree, served as a model. Needs a running event loop from its first request on."""

    def __init__(self, name: str, files: AppFiles, hub: ModelHub, cache: GenerationCache) -> None:
        self.name = name
        self.files = files
        self.digest = files.digest
        self._hub = hub
        self._cache = cache
        self._session: aiohttp.ClientSession | None = None
        self._chain: Chain | None = None
        self._caller: CachingCaller | None = None

    async def respond(self, request: AppRequest) -> AppResponse:
        """Answer one chat request; RequestError for inputs that the app refuses."""
        files = with_overrides(self.files, request.overrides) if request.overrides else self.files
        chain = self._chain_for(files)
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        result = await chain.run(Call(request.inputs, messages, str(request.seed or ""), request.repeat))
        if self._caller:
            self._caller.flush()
        if result.status != "ok":
            # No step ran: the request itself was wrong.
            if not result.steps:
                raise RequestError(result.reason, "inputs")
            message = f"app {self.name!r}: {result.reason}"
            raise SignoffError(message)
        tokens = Tokens(result.tokens_in, result.tokens_out, 0)
        steps = {name: step.as_dict() for name, step in result.steps.items()}
        return AppResponse(result.text, self.digest if files is self.files else files.digest, tokens, steps)

    def _chain_for(self, files: AppFiles) -> Chain:
        if self._session is None:
            self._session = aiohttp.ClientSession()
            routed = RoutingCaller(EngineCaller(self._hub.engine), EndpointCaller(self._session, remote_url))
            self._caller = CachingCaller(routed, self._cache, cache_identity)
        if files is self.files and self._chain is not None:
            return self._chain
        assert self._caller is not None
        chain = Chain(files, self._caller, HttpRunner(self._session))
        if files is self.files:
            self._chain = chain
        return chain


async def remote_url(model: Model) -> str:
    """The endpoint that ``model.yaml`` names."""
    return model.endpoint


def with_overrides(files: AppFiles, overrides: DecodingOverrides) -> AppFiles:
    """The app with the last model step's decoding replaced: another digest, which no evidence matches."""
    from dataclasses import asdict, replace

    given = {name: value for name, value in asdict(overrides).items() if value is not None}
    steps = list(files.app.steps)
    last = max((i for i, step in enumerate(steps) if isinstance(step, LlmStep)), default=None)
    if last is None:
        message = f"app {files.name!r} has no model step whose decoding could be overridden"
        raise RequestError(message, next(iter(given)))
    step = steps[last]
    assert isinstance(step, LlmStep)
    steps[last] = step.model_copy(
        update={"decoding": Decoding(**{**step.decoding.model_dump(exclude_none=True), **given})}
    )
    parts = {
        **files.parts,
        "overrides": digest_of({k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}),
    }
    return replace(files, app=files.app.model_copy(update={"steps": tuple(steps)}), parts=parts)


def build_gateway(root: str, cache: str, apps: list[str], baseline: str | None = None) -> FastAPI:
    """The gateway over two trees: apps as ``name`` and ``name@baseline``, models by name and by digest."""
    from harness.serve.gateway.routes import create_app

    home = Path(cache)
    hub, generations = ModelHub(Path(root), home), GenerationCache(home / "generations.sqlite")
    services: dict[str, AppService] = {}
    for suffix, tree in (("", root), ("@baseline", baseline)):
        if tree is not None:
            present = {path.parent.name for path in Path(tree).glob("suites/*/app.yaml")}
            wanted = [name for name in apps if name in present]
            loaded = load_repository(Path(tree), with_suites=False, only=wanted).apps if wanted else {}
            services |= {
                f"{name}{suffix}": AppService(f"{name}{suffix}", files, hub, generations)
                for name, files in loaded.items()
            }
    return create_app(_models(services, hub), services)


def _models(services: Mapping[str, AppService], hub: ModelHub) -> dict[str, Any]:
    served: dict[str, Any] = {}
    for service in services.values():
        for model in service.files.models.values():
            if model.pinned:
                for name in (model.served_name, model.name):
                    served.setdefault(name, HubModel(name, model, hub))
    return served
