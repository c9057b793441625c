"""Gateways put together: the one that a run measures through, and the one that users are answered by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.serve.app_service import AppService, marked
from harness.serve.backend import Backend
from harness.serve.embedding import StaticModel
from harness.serve.engine.hub import HubModel, ModelHub
from harness.serve.gateway.lifecycle import Lifecycle
from harness.serve.gateway.routes import create_app
from harness.serve.private_generator import PrivateModel, privacy_mark
from harness.spec.apps import LlmStep
from harness.spec.repository import AppFiles, load_repository, load_shared
from harness.spec.serving import Limits, Privacy, Serving
from harness.store import GenerationCache

if TYPE_CHECKING:
    from fastapi import FastAPI

    from harness.data import Texts
    from harness.serve.gateway.parts import Parts
    from harness.serve.gateway.served import ServedModel

# A run measures what the app does, however long its prompts are; these limits are for strangers.
NO_LIMITS = Limits(
    body_bytes=256 * 2**20,
    prompt_tokens=16 * 2**20,
    answer_tokens=2**20,
    stop_strings=1024,
    logit_biases=2**20,
    schema_bytes=16 * 2**20,
    schema_depth=512,
)


@dataclass(frozen=True, slots=True)
class Hiding:
    """Who takes personal data out of what models see, and by which settings."""

    texts: Texts
    privacy: Privacy


def build_gateway(
    root: str, cache: str, apps: list[str], baseline: str | None = None, models: Sequence[str] = ()
) -> FastAPI:
    """The gateway of a run, over two trees: apps as ``name`` and ``name@baseline``, models by name and by digest.

    ``models`` are served whether or not an app uses them. It asks for no key, keeps no traces and no answers; what
    models say is kept with the generations of the run.
    """
    home = Path(cache)
    backend = Backend(ModelHub(Path(root), home), GenerationCache(home / "generations.sqlite"))
    trees = {"": Path(root)} if baseline is None else {"": Path(root), "@baseline": Path(baseline)}
    files = {f"{name}{suffix}": each for suffix, tree in trees.items() for name, each in _present(tree, apps).items()}
    services = {name: AppService(name, each, backend) for name, each in files.items()}
    settings = Serving(limits=NO_LIMITS)
    lifecycle = Lifecycle(closers=(backend.close,))
    served = _judging(Path(root), models, backend.hub) | served_models(files.values(), backend.hub)
    return create_app(served, services, None, settings, lifecycle=lifecycle)


def _judging(root: Path, names: Sequence[str], hub: ModelHub) -> dict[str, Any]:
    if not names:
        return {}
    models = load_shared(root).models
    return {
        served: HubModel(name, models[name], hub)
        for name in names
        if name in models
        for served in (name, models[name].served_name)
    }


def _present(tree: Path, apps: list[str]) -> Mapping[str, AppFiles]:
    wanted = [name for name in apps if (tree / "suites" / name / "app.yaml").is_file()]
    return load_repository(tree, with_suites=False, only=wanted).apps if wanted else {}


def build_server(
    backend: Backend,
    files: Mapping[str, AppFiles],
    embedders: Mapping[str, StaticModel],
    parts: Parts,
    settings: Serving,
    *,
    hiding: Hiding | None = None,
    lifecycle: Lifecycle | None = None,
) -> FastAPI:
    """The gateway of a server: ``files`` are apps by the names under which they answer, arms as ``app@arm``.

    ``hiding`` keeps personal data from every model, which changes the digests.
    """
    if hiding is not None:
        files = {name: marked(each, "privacy", privacy_mark(hiding.privacy)) for name, each in files.items()}
    services = {name: AppService(each.name, each, backend) for name, each in files.items()}
    served: Mapping[str, ServedModel] = served_models(files.values(), backend.hub)
    if hiding is not None:
        served = {name: PrivateModel(model, hiding.texts, hiding.privacy) for name, model in served.items()}
    return create_app(served, services, parts, settings, embedders=embedders, lifecycle=lifecycle)


def served_models(apps: Iterable[AppFiles], hub: ModelHub) -> dict[str, Any]:
    """The models and adapters that apps use: by name, and by a name that holds the digest."""
    served: dict[str, HubModel] = {}
    for files in apps:
        hub.know(files.adapters.values())
        for model in files.models.values():
            # Two trees may hold two models of one name; both are there under their digests.
            served.setdefault(model.name, HubModel(model.name, model, hub))
            if model.pinned:
                served.setdefault(model.served_name, HubModel(model.name, model, hub))
        for step in files.app.steps:
            if isinstance(step, LlmStep) and step.adapter:
                served |= {name: each for name, each in _adapter(step, files, hub).items() if name not in served}
    return served


def _adapter(step: LlmStep, files: AppFiles, hub: ModelHub) -> dict[str, HubModel]:
    key, model = step.adapter or "", files.models[step.model]
    version = files.adapters.get(key)
    if version is None:
        return {key: HubModel(key, model, hub, endpoint_adapter=key)}
    adapter = HubModel(key, model, hub, version)
    return {key: adapter, version.served_name: adapter}
