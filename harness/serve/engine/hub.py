"""Engines of this process, loaded when they are first needed, one for each model digest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.serve.engine.loader import device
from harness.serve.protocol import RequestError
from harness.serve.remote import Contracts, Remotes, endpoint_version
from harness.spec.adapters import AdapterVersion, unfit
from harness.spec.models import Model
from harness.store import convert_once, digest_of, fetch

if TYPE_CHECKING:
    from harness.serve.engine.async_engine import AsyncEngine, Generator

# Raised whenever a change of the engine may change its outputs: it is part of every generation's cache key.
ENGINE_REVISION = "3"


class ModelHub:
    """Gives the engine of a model: fetches and converts its bytes once, loads it once.

    ``queue`` requests may wait for a place in each engine of this process; None leaves it to the engine.
    """

    def __init__(self, root: Path, cache: Path, queue: int | None = None) -> None:
        self._root = root
        self._cache = cache
        self._queue = queue
        self._engines: dict[str, AsyncEngine] = {}
        self._adapters: dict[str, AdapterVersion] = {}
        self._loaded: set[tuple[str, str]] = set()
        self._lock = asyncio.Lock()
        self._remotes = Remotes(Contracts(cache))

    def know(self, adapters: Iterable[AdapterVersion]) -> None:
        """Let models be asked for with these adapters."""
        self._adapters |= {adapter.digest: adapter for adapter in adapters}

    async def engine(self, model: Model, adapter: str | None = None) -> Generator:
        """The engine of ``model``: running, with the adapter of that digest loaded into it, or behind its endpoint.

        Raises UsageError when the model's bytes are not what ``model.yaml`` says, or the adapter does not fit them.
        """
        return await self.local(model, adapter) if model.pinned else self._remotes.of(model)

    async def local(self, model: Model, adapter: str | None = None) -> AsyncEngine:
        """The running engine of a model of this process; errors as for ``engine``."""
        async with self._lock:
            if model.digest not in self._engines:
                self._engines[model.digest] = await asyncio.to_thread(self._load, model)
            engine = self._engines[model.digest]
            if adapter is not None and (model.digest, adapter) not in self._loaded:
                await self._load_adapter(engine, model, adapter)
                self._loaded.add((model.digest, adapter))
        return engine

    async def _load_adapter(self, engine: AsyncEngine, model: Model, digest: str) -> None:
        version_ = self._adapters.get(digest)
        if version_ is None:
            raise RequestError(f"adapter {digest[:12]} is not served here", "model")
        why = unfit(version_, model)
        template = engine.identity.tokenizer_digest
        if why is None and template != version_.manifest.tokenizer_template:
            stated = version_.manifest.tokenizer_template
            why = (
                f"adapter {version_.key} was trained with tokenizer and chat template {stated[:12]}…; "
                f"model {model.name!r} has {template[:12]}…"
            )
        if why is not None:
            raise UsageError(why)
        await engine.load_adapter(digest, version_.folder)

    @property
    def engines(self) -> Mapping[str, AsyncEngine]:
        """The running engines by model digest."""
        return self._engines

    def _load(self, model: Model) -> AsyncEngine:
        from harness.serve.engine.async_engine import AsyncEngine
        from harness.serve.engine.loader import load_transformers
        from harness.serve.engine.transformers_engine import EngineLimits

        limits = EngineLimits() if self._queue is None else EngineLimits(queue=self._queue)
        folder = model_folder(model, self._root, self._cache)
        return AsyncEngine(load_transformers(folder, model.dtype, limits=limits))


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model, or an adapter on it, that the gateway serves under ``name``; loaded by its first request."""

    name: str
    model: Model
    hub: ModelHub
    version: AdapterVersion | None = None
    endpoint_adapter: str | None = None
    """For an endpoint: the name and version of the adapter, a key of ``adapters`` in ``model.yaml``."""

    @property
    def digest(self) -> str:
        """The content digest of the model; of the adapter, which covers its base, where there is one."""
        if self.endpoint_adapter:
            return digest_of({"model": self.model.digest, "adapter": self.endpoint_adapter})
        return self.version.digest if self.version else self.model.digest

    @property
    def pinned(self) -> bool:
        """Whether the bytes behind the name are known."""
        return self.model.pinned

    @property
    def parent(self) -> str | None:
        """The base model's name, for an adapter."""
        return self.model.name if self.adapter else None

    @property
    def adapter(self) -> str | None:
        """The adapter's digest, which requests carry to the engine; its name for an endpoint, which states none."""
        return self.version.digest if self.version else self.endpoint_adapter

    async def engine(self) -> Generator:
        """The running engine, with the adapter loaded."""
        return await self.hub.engine(self.model, self.adapter)


def model_folder(model: Model, root: Path, cache: Path) -> Path:
    """The folder that transformers loads, converted from the model's source on first use."""
    if model.source is None or model.sha256 is None:
        message = f"model {model.name!r} has engine {model.engine!r}: there is nothing to load in this process"
        raise UsageError(message)
    _require_local(model)
    source, sha256 = model.source, model.sha256

    def build(out: Path) -> None:
        from harness.serve.engine.loader import convert_gguf

        convert_gguf(fetch(source, sha256, cache=cache, root=root), out)

    return convert_once(f"{model.name}-{sha256[:16]}-r{ENGINE_REVISION}", cache, build)


def _require_local(model: Model) -> None:
    try:
        version("torch"), version("transformers")
    except PackageNotFoundError as error:
        needs = "torch and transformers: pip install 'signoff[local]'"
        message = f"model {model.name!r} runs in this process, which needs {needs}"
        raise UsageError(message) from error


@lru_cache(maxsize=64)
def cache_identity(model: Model) -> dict[str, str]:
    """What the generation cache must know of the engine, found without loading it (or torch)."""
    if not model.pinned:
        return {
            "engine": model.engine,
            "engine_version": endpoint_version(model),
            "dtype": "",
            "cpu": "",
            "tokenizer_template": "",
        }
    return {
        "engine": model.engine,
        "engine_version": f"{_version('transformers')}/{_version('torch')}/r{ENGINE_REVISION}",
        "dtype": model.dtype,
        "cpu": cpu_capability() if device() == "cpu" else device(),
        # The file holds weights, tokenizer and chat template together.
        "tokenizer_template": model.sha256 or "",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def cpu_capability() -> str:
    """The widest vector set that torch would use here: results differ in the last bits between them."""
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))
        )
    except (OSError, StopIteration):
        import platform

        return platform.machine()
    have = set(flags.split())
    return next((name for name in ("amx_tile", "avx512f", "avx2", "asimd") if name in have), "default")
