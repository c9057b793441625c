"""``signoff eval``: measure one variant of one app, decide nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from harness.errors import UsageError
from harness.run.manifest import manifest
from harness.run.measure import measure
from harness.run.options import Options
from harness.run.pipeline import iso
from harness.run.plan import make_plan
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
    stage = measure(options, plan, folder)
    times = {"run_id": folder.run_id, "started": iso(started), "finished": iso(time.time())}
    folder.finish(manifest(options, plan, [stage], times | {"wall_s": round(time.time() - started, 3)}, []))
    return {
        "run": str(folder.path),
        "model_calls": stage.model_calls,
        "cached_calls": stage.cached_calls,
        "broken": stage.broken,
        "metrics": summarise(read_measurements(folder.path / "measurements" / "regression.jsonl")),
        "exit_code": 3 if stage.broken else 0,
    }


def summarise(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """The mean over cases (each the mean of its repeats) of every metric, with counts of what was not scored."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    missed: dict[str, dict[str, int]] = defaultdict(lambda: {"unscored": 0, "error": 0})
    for row in rows:
        if row.value is None:
            missed[row.metric][row.status] += 1
        else:
            values[row.metric][row.case].append(row.value)
    table = []
    for metric in sorted({*values, *missed}):
        means = [sum(found) / len(found) for found in values[metric].values()]
        mean = sum(means) / len(means) if means else None
        counts = missed[metric]
        table.append(
            {"metric": metric, "mean": mean, "n": len(means), "unscored": counts["unscored"], "errors": counts["error"]}
        )
    return table
