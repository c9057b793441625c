"""What all apps and models of one gateway share: engines, connections, and who answers a model call."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import aiohttp

from harness.serve.engine.async_engine import Generator
from harness.serve.engine.hub import ModelHub, cache_identity
from harness.serve.private_generator import PrivateGenerator
from harness.serve.protocol import GenerationRequest
from harness.serve.steps.callers import Answer, CachingCaller, Caller, EngineCaller
from harness.spec.models import Model
from harness.store import GenerationCache

if TYPE_CHECKING:
    from harness.data import Texts


class Backend:
    """The ``Means`` of a gateway's apps; used within one event loop.

    ``generations`` keeps what models answered, as evaluation does. A server of live requests has none: the answers
    would be kept with whatever they say about people. With ``hide`` models see placeholders only.
    """

    def __init__(self, hub: ModelHub, generations: GenerationCache | None = None, hide: Texts | None = None) -> None:
        self.hub = hub
        self._generations, self._hide = generations, hide
        self._caller: Caller | None = None
        self._session: aiohttp.ClientSession | None = None

    def caller(self) -> Caller:
        """Who answers model calls."""
        if self._caller is None:
            engines = EngineCaller(self._engine)
            self._caller = engines if self._generations is None else _Flushing(engines, self._generations)
        return self._caller

    def session(self) -> aiohttp.ClientSession:
        """The connections of http steps."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def close(self) -> None:
        """Close connections, engines and the cache."""
        from harness.serve.remote import close_session

        if self._session is not None:
            await self._session.close()
        await close_session()
        for engine in self.hub.engines.values():
            engine.close()
        if self._generations is not None:
            self._generations.close()

    async def _engine(self, model: Model, adapter: str | None) -> Generator:
        engine = await self.hub.engine(model, adapter)
        return engine if self._hide is None else PrivateGenerator(engine, self._hide)


class _Flushing:
    """A caching caller that writes what it keeps at once: the run that asks reads it from the same file."""

    def __init__(self, inner: Caller, cache: GenerationCache) -> None:
        self._caching = CachingCaller(inner, cache, cache_identity)

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The cached generation, or a new one."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._caching.flush)
            return await self._caching.ask(model, request, repeat)
