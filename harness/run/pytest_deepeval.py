"""Tests written for deepeval, below ``suites/<app>/``: their metrics ask a model of this repository unless told not to.

``assert_test`` stays deepeval's own; what changes is who is asked when a metric names no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.evals.deepeval_checks import judging_model, load
from harness.serve.protocol import Generation, GenerationRequest
from harness.spec.apps import LlmStep
from harness.spec.graded import deepeval_settings
from harness.spec.models import Model
from harness.spec.repository import Repository, load_repository

if TYPE_CHECKING:
    from harness.run.pytest_trees import Tree

ANSWER_TOKENS = 512
_IMPORTS = re.compile(rb"^\s*(?:import|from)\s+deepeval\b", re.MULTILINE)


def imports_deepeval(file: Path) -> bool:
    """Whether the test file imports deepeval; read without importing it."""
    return file.suffix == ".py" and file.is_file() and _IMPORTS.search(file.read_bytes()) is not None


class Defaults:
    """Whom deepeval asks by default: the model of the app whose tests are collected or run."""

    def __init__(self) -> None:
        self._current: Any = None
        self._installed = False
        self._models: dict[tuple[Path, str], Any] = {}

    def take(self, tree: Tree, app: str) -> None:
        """From now on deepeval asks the model of ``app``; without deepeval the test's own import tells what is amiss.

        UsageError when the app's files name no model that could be asked.
        """
        if not self._install():
            return
        key = (tree.root, app)
        if key not in self._models:
            self._models[key] = _model_of(tree, app)
        self._current = self._models[key]

    def _install(self) -> bool:
        if self._installed:
            return True
        try:
            load()
        except UsageError:
            return False
        from deepeval.metrics.utils import models

        # Every metric of deepeval 4 gets its model here; the settings that deepeval has for it know no schema.
        build = models._build_model

        def chosen(model: Any = None) -> Any:
            return (self._current, False) if model is None and self._current is not None else build(model)

        models._build_model = chosen
        self._installed = True
        return True


@contextlib.contextmanager
def own_loop() -> Iterator[None]:
    """Within, the thread has an event loop of its own: deepeval takes the current one, which may be the bench's."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _model_of(tree: Tree, app: str) -> Any:
    tree.meet(app)
    model = default_model(load_repository(tree.root, only=(app,)), app)
    lock = threading.Lock()

    def one(request: GenerationRequest) -> Generation:
        with lock:
            return tree.bench.generate(model, request)

    async def ask(request: GenerationRequest) -> Generation:
        # The bench has a loop of its own, which cannot run inside deepeval's.
        return await asyncio.to_thread(one, request)

    return judging_model(model, ask, ANSWER_TOKENS)


def default_model(repository: Repository, app: str) -> Model:
    """The model that grades ``app``: that of its deepeval checks, else of its judges, else of its first model step.

    UsageError when the app has none of them.
    """
    suite = repository.suites[app]
    metrics = [check for check in suite.suite.checks if check.check.startswith("deepeval/")]
    names = [deepeval_settings(check)[0].model for check in metrics]
    names += [judge.judge.model for judge in suite.judges.values()]
    names += [step.model for step in repository.apps[app].app.steps if isinstance(step, LlmStep)]
    if not names:
        message = f"app {app!r}: no judge, no deepeval check and no model step names a model that could grade"
        raise UsageError(message)
    return repository.models[names[0]]
