"""The gateway that ``signoff serve`` runs: what stands in the repository, with every part that it asks for."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.serve.backend import Backend
from harness.serve.embedding import StaticModel
from harness.serve.engine.hub import HubModel, ModelHub
from harness.serve.gateway.access import KeyAccess
from harness.serve.gateway.feedback import FeedbackBook, feedback_secret
from harness.serve.gateway.lifecycle import Lifecycle
from harness.serve.gateway.limiter import KeyLimiter
from harness.serve.gateway.parts import Parts
from harness.serve.gateway.response_cache import open_response_cache
from harness.serve.gateway.telemetry import Telemetry
from harness.serve.gateway.traffic import SplitTraffic, served_name, traffic_trees
from harness.serve.protocol import EngineStats
from harness.serve.service import Hiding, build_server, served_models
from harness.spec.repository import AppFiles, Repository, load_repository
from harness.spec.serving import Serving, load_serving
from harness.spec.traffic import Traffic, load_traffic

if TYPE_CHECKING:
    from fastapi import FastAPI

    from harness.data import Texts
    from harness.serve.gateway.response_cache import ExactResponseCache

_log = logging.getLogger("signoff.serve")
_SECRET = "feedback.secret"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be served: the apps of ``root`` (all if none is named), for the keys in ``keys`` (None: for anybody),
    with the log of requests in ``traces`` (None: without one).
    """

    root: Path
    cache: Path
    apps: tuple[str, ...] = ()
    keys: Path | None = None
    traces: Path | None = None


@dataclass(slots=True)
class Live:
    """A gateway that is ready to be run. ``failure`` is why a model could not be loaded while it ran."""

    app: FastAPI
    settings: Serving
    digests: Mapping[str, str]
    scrub: Callable[[str], str] | None
    failure: list[Exception] = field(default_factory=list)


def open_live(wanted: Wanted) -> Live:
    """Read the files, open the parts, load nothing yet; UsageError for whatever the user can mend."""
    settings = load_serving(wanted.root)
    repository = load_repository(wanted.root, with_suites=False, only=wanted.apps)
    traffic = load_traffic(wanted.root, repository.apps)
    access = None if wanted.keys is None else KeyAccess(wanted.keys)
    files = _with_arms(repository, traffic, wanted)
    # Mistakes in files are found before this takes its seconds.
    texts = _texts(settings)
    hides = texts if settings.privacy.before_model else None
    backend = Backend(ModelHub(wanted.root, wanted.cache, settings.limits.queue), hide=hides)
    telemetry = Telemetry.start(wanted.traces, texts, settings.traces)
    cache = open_response_cache(wanted.cache, settings.cache, texts)
    parts = _parts(wanted, settings, access, telemetry, SplitTraffic(traffic), cache)
    models = served_models(files.values(), backend.hub)
    embedders = _embedders(repository, wanted)
    failure: list[Exception] = []
    lifecycle = Lifecycle(
        loaders=_loaders(models, embedders),
        closers=_closers(telemetry, cache, backend),
        broken=partial(_give_up, failure),
    )
    hiding = None if hides is None else Hiding(hides, settings.privacy)
    app = build_server(backend, files, embedders, parts, settings, hiding=hiding, lifecycle=lifecycle)
    _watch(telemetry, app, models, backend.hub)
    lifecycle.status = partial(_status, app, models, backend.hub, telemetry, access)
    digests = {name: each.digest for name, each in app.state.gateway.catalogue.apps.items()}
    return Live(app, settings, digests, None if texts is None else partial(_scrubbed, texts), failure)


def _with_arms(repository: Repository, traffic: Mapping[str, Traffic], wanted: Wanted) -> dict[str, AppFiles]:
    """The apps, and beside them each arm of those whose traffic is split."""
    files = dict(repository.apps)
    for app, split in traffic.items():
        for arm, tree in traffic_trees(wanted.root, app, split, wanted.cache).items():
            files[served_name(app, arm)] = load_repository(tree, with_suites=False, only=(app,)).apps[app]
    return files


def _embedders(repository: Repository, wanted: Wanted) -> dict[str, StaticModel]:
    static = (model for model in repository.models.values() if model.engine == "static")
    return {model.name: StaticModel(model, wanted.root, wanted.cache) for model in static}


def _texts(settings: Serving) -> Texts | None:
    """The anonymiser; without presidio none, if nobody insists on it."""
    from harness.data import load_anonymiser

    try:
        return load_anonymiser(settings.privacy)
    except UsageError as problem:
        if settings.privacy.before_model or settings.privacy.entities is not None:
            raise
        _log.warning("no text is kept in traces and no answer in the cache: %s", problem)
        return None


def _scrubbed(texts: Texts, text: str) -> str:
    return texts.anonymise(text).text


def _parts(
    wanted: Wanted,
    settings: Serving,
    access: KeyAccess | None,
    telemetry: Telemetry,
    traffic: SplitTraffic,
    cache: ExactResponseCache | None,
) -> Parts:
    book = None
    if telemetry.traces is not None and wanted.traces is not None:
        book = FeedbackBook(telemetry.traces.note, feedback_secret(wanted.traces / _SECRET))
    observers = telemetry.observers if book is None else (*telemetry.observers, book)
    shared: dict[str, Any] = {"cache": cache, "traffic": traffic, "feedback": book, "figures": telemetry.metrics}
    if access is None:
        # The one who develops is no stranger, and measures without being held back.
        return Parts(observers=observers, **shared)
    return Parts(access, KeyLimiter(settings.limits), observers=observers, **shared)


def _loaders(
    models: Mapping[str, HubModel], embedders: Mapping[str, StaticModel]
) -> list[Callable[[], Awaitable[object]]]:
    """What loads every engine of this process once, adapters included. Endpoints are asked when they are needed."""
    local = {model.digest: model.engine for model in models.values() if model.pinned}
    return [*local.values(), *(each.embedder for each in embedders.values())]


def _closers(
    telemetry: Telemetry, cache: ExactResponseCache | None, backend: Backend
) -> list[Callable[[], Awaitable[object]]]:
    blocking = [telemetry.close] if cache is None else [cache.close, telemetry.close]
    return [*(partial(asyncio.to_thread, close) for close in blocking), backend.close]


def _give_up(failure: list[Exception], problem: Exception) -> None:
    failure.append(problem)
    # The server's own way to end: it drains, closes and returns to whoever started it.
    signal.raise_signal(signal.SIGTERM)


def _watch(telemetry: Telemetry, app: FastAPI, models: Mapping[str, HubModel], hub: ModelHub) -> None:
    for name, digest in _engines(models).items():
        telemetry.metrics.watch_engine(name, partial(_stats, hub, digest))
    telemetry.metrics.watch_in_flight(lambda: app.state.gateway.pipeline.in_flight)


def _engines(models: Mapping[str, HubModel]) -> dict[str, str]:
    """The digest of each model that runs in this process, by its name."""
    return {name: each.model.digest for name, each in models.items() if each.pinned and name == each.model.name}


def _stats(hub: ModelHub, digest: str) -> EngineStats:
    engine = hub.engines.get(digest)
    return EngineStats() if engine is None else engine.stats


def _status(
    app: FastAPI,
    models: Mapping[str, HubModel],
    hub: ModelHub,
    telemetry: Telemetry,
    access: KeyAccess | None,
) -> dict[str, Any]:
    """What ``/admin/status`` shows. No key, no user and no text is in it."""
    catalogue, traces = app.state.gateway.catalogue, telemetry.traces
    return {
        "apps": {name: each.digest for name, each in catalogue.apps.items()},
        "engines": {name: asdict(_stats(hub, digest)) for name, digest in _engines(models).items()},
        "traces": None if traces is None else {"dropped": traces.dropped, "lost": traces.lost},
        "keys": None if access is None else {"problem": access.problem},
    }
