"""The gateway of a load test: both arms in one process, and nothing kept between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.run.plan import as_baseline
from harness.serve.app_service import AppService
from harness.serve.backend import Backend
from harness.serve.engine.hub import ModelHub
from harness.serve.gateway.lifecycle import Lifecycle
from harness.serve.gateway.routes import create_app
from harness.spec.apps import HttpStep
from harness.spec.repository import AppFiles, load_repository

if TYPE_CHECKING:
    from fastapi import FastAPI


def build_load_gateway(root: str, cache: str, apps: list[str], baseline: str | None = None) -> FastAPI:
    """Apps as ``name`` and ``name@baseline``, without a cache of generations.

    Each arm has engines of its own. With one engine the arm that is asked second would find the beginnings of its
    prompts computed by the first, and whichever arm that is would look faster by most of its prompt.
    """
    candidates = load_repository(Path(root), with_suites=False, only=apps).apps
    arms: Mapping[str, Mapping[str, AppFiles]] = {
        "": candidates,
        "@baseline": _baselines(candidates, Path(baseline) if baseline else None),
    }
    services, closers = {}, []
    for suffix, files in arms.items():
        backend = Backend(ModelHub(Path(root), Path(cache)))
        closers.append(backend.close)
        for name, each in files.items():
            backend.hub.know(each.adapters.values())
            services[f"{name}{suffix}"] = AppService(f"{name}{suffix}", each, backend)
    return create_app({}, services, lifecycle=Lifecycle(closers=tuple(closers)))


def _baselines(candidates: Mapping[str, AppFiles], tree: Path | None) -> Mapping[str, AppFiles]:
    """The baselines as the plan of a run sees them."""
    present = [name for name in candidates if tree and (tree / "suites" / name / "app.yaml").is_file()]
    found = dict(load_repository(tree, with_suites=False, only=present).apps) if tree and present else {}
    for name, files in candidates.items():
        if any(isinstance(step, HttpStep) and step.baseline_url for step in files.app.steps):
            found[name] = as_baseline(found.get(name, files))
    return found
