"""The package deepeval, imported so that it tells nobody, reads no file that it was not given and waits for nothing."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from harness.errors import UsageError
from harness.store import cache_home

EXTRA = "pip install -c constraints.txt -e '.[judges]'"
# With its telemetry on, deepeval hands each run's events to PostHog and waits for them when the process ends; without
# a network that takes minutes. Its switches are read when its settings are first built: they are set before.
QUIET: Mapping[str, str] = {
    "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
    "DEEPEVAL_UPDATE_WARNING_OPT_IN": "0",
    "DEEPEVAL_DISABLE_DOTENV": "1",
    "DEEPEVAL_NO_INSPECT_PROMPT": "1",
    "CONFIDENT_TRACE_FLUSH": "0",
    "DO_NOT_TRACK": "1",
}
_ACCOUNT = "CONFIDENT_API_KEY"
# An app's answer holds these. Metrics over tools, traces and pictures, or built of Python's objects, are left out.
_SEEN = frozenset({"input", "actual_output", "expected_output", "context", "retrieval_context"})
_OBJECTS = frozenset({"DAGMetric", "JevEval", "JsonCorrectnessMetric"})
_TRACES = frozenset(
    {"AgentLoopDetectionMetric", "TaskCompletionMetric", "StepEfficiencyMetric", "PlanQualityMetric"}
    | {"PlanAdherenceMetric"}
)


class AbsentError(UsageError):
    """deepeval is not installed: what it would compute is unknown, and nothing else hangs on it."""


def load() -> ModuleType:
    """The module ``deepeval.metrics``; AbsentError names the extra when the package is not installed."""
    quieten()
    try:
        module = import_module("deepeval.metrics")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "deepeval":
            raise
        message = f"checks deepeval/<Metric> need the package deepeval: {EXTRA}"
        raise AbsentError(message) from error
    return module


def quieten() -> None:
    """Switch telemetry, accounts and .env files off for this process, and keep its files out of the working folder."""
    os.environ.update(QUIET)
    os.environ["DEEPEVAL_CACHE_FOLDER"] = os.environ["DEEPEVAL_HOME"] = str(cache_home() / "deepeval")
    if "deepeval" not in sys.modules:
        # With the key of an account deepeval would send what it saw.
        os.environ.pop(_ACCOUNT, None)


def metric_class(name: str) -> type[Any]:
    """The metric that a check ``deepeval/<name>`` names, with or without ``Metric`` at its end.

    UsageError: there is none, or it needs what an app's answer does not hold; AbsentError.
    """
    module = load()
    known = {each: kind for each in module.__all__ if _single_turn(kind := getattr(module, each), module)}
    found: type[Any] | None = known.get(name) or known.get(f"{name}Metric")
    if found is not None:
        return found
    exported = getattr(module, name, None) or getattr(module, f"{name}Metric", None)
    usable = ", ".join(sorted(each.removesuffix("Metric") for each in known))
    if exported is None:
        raise UsageError(f"check 'deepeval/{name}': deepeval has no metric {name!r}; usable are {usable}")
    message = f"check 'deepeval/{name}': this metric does not work on one answer to one question; usable are {usable}"
    raise UsageError(message)


def _single_turn(kind: Any, module: ModuleType) -> bool:
    if not inspect.isclass(kind) or not issubclass(kind, module.BaseMetric) or kind is module.BaseMetric:
        return False
    if kind.__name__ in _OBJECTS | _TRACES or "multimodal" in kind.__module__:
        return False
    needed = getattr(kind, "_required_params", ())
    return kind.__name__ == "GEval" or (isinstance(needed, list) and {each.value for each in needed} <= _SEEN)
