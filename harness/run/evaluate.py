"""``signoff eval``: measure one variant of one app, decide nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from harness.errors import UsageError
from harness.run.options import Options
from harness.run.parts import finish_part
from harness.run.plan import make_plan
from harness.run.stages.record import Context
from harness.run.stages.regression import measure
from harness.spec.measurement import Measurement, read_measurements
from harness.store import RunFolder


def evaluate(options: Options) -> dict[str, Any]:
    """Measure and return the mean of every metric; UsageError when the variant has nothing to measure."""
    started, plan = time.time(), make_plan(options)
    name = options.apps[0]
    if "baseline" in options.variants and not plan.changed(name):
        message = f"app {name!r} has no baseline that differs from the candidate; nothing to measure"
        raise UsageError(message)
    folder = RunFolder.create(options.reports)
    stage = measure(Context(options, plan, folder, tuple(plan.repository.suites)))
    finish_part(options, plan, folder, [stage], started)
    return {
        "run": str(folder.path),
        "model_calls": stage.model_calls,
        "cached_calls": stage.cached_calls,
        "broken": stage.broken,
        "metrics": summarise(read_measurements(folder.path / "measurements" / "regression.jsonl")),
        "exit_code": 3 if stage.broken else 0,
    }


def summarise(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """The mean over cases (each the mean of its repeats) of every metric and arm, with counts of what has no value."""
    values: dict[_Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    missed: dict[_Key, dict[str, int]] = defaultdict(lambda: {"unscored": 0, "error": 0})
    for row in rows:
        key: _Key = (row.app, row.metric, row.variant)
        if row.value is None:
            missed[key][row.status] += 1
        else:
            values[key][row.case].append(row.value)
    table = []
    for key in sorted({*values, *missed}):
        means = [sum(found) / len(found) for found in values[key].values()]
        named = dict(zip(("app", "metric", "variant"), key, strict=True))
        counts = {"unscored": missed[key]["unscored"], "errors": missed[key]["error"]}
        table.append({**named, "mean": sum(means) / len(means) if means else None, "n": len(means), **counts})
    return table


_Key = tuple[str, str, str]
