"""The old yardstick beside the new one: the baseline's cases and checks, measured on the same two arms.

What both share comes from the caches, so that only cases that were deleted or changed cost a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import SignoffError
from harness.gate import RunVerdict
from harness.run.stages import STAGES, Context, StageReport
from harness.run.yardstick import Yardstick
from harness.spec.measurement import Measurement, read_measurements
from harness.spec.repository import SuiteFiles
from harness.store import RunFolder

FOLDER = "old-yardstick"
# A load test and an attack are measured by one profile only: twice would cost twice.
ASKED_AGAIN = ("regression", "evals")


def measure_old(context: Context, report: StageReport, yardstick: Yardstick) -> None:
    """Measure by the old yardstick what the stage measured by the new one; ``report`` gets calls and seconds.

    The stage keeps its status: what the old yardstick does not tell stays unknown, and is approved or not.
    """
    stage = report.name
    apps = tuple(
        name for name in yardstick.measured_anew if name in context.apps and STAGES[stage].applies(yardstick.old[name])
    )
    if stage not in ASKED_AGAIN or report.status != "ok" or not apps:
        return
    suites = {**context.plan.repository.suites, **{name: yardstick.old[name] for name in apps}}
    plan = replace(context.plan, repository=replace(context.plan.repository, suites=suites), suite_root=yardstick.root)
    folder = RunFolder(context.folder.artifacts(stage) / FOLDER)
    try:
        old = STAGES[stage].measure(Context(context.options, plan, folder, apps))
    except SignoffError as error:
        report.found.append(f"the old yardstick could not be measured: {error}")
        return
    if old.broken:
        report.found.append(f"the old yardstick could not be measured: {old.broken}")
    report.model_calls += old.model_calls
    report.cached_calls += old.cached_calls
    report.seconds += old.seconds


def old_rows(folder: Path, rows: Iterable[Measurement], yardstick: Yardstick) -> Iterator[Measurement]:
    """The rows that the old gates speak of: measured anew where the cases or checks moved, else those of the run."""
    anew = set(yardstick.measured_anew)
    kept = (
        row
        for row in rows
        if row.app in yardstick.old and not (row.app in anew and row.stage in ASKED_AGAIN)
    )  # fmt: skip
    files = sorted(folder.glob(f"artifacts/*/{FOLDER}/measurements/*.jsonl"))
    return chain(kept, chain.from_iterable(read_measurements(file) for file in files))


def sentences(old: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the old yardstick says otherwise than the new one, gate by gate, for people."""
    words = {"fail": "fail", "inconclusive": "be undecided", "pass": "pass"}
    return [
        f"{gate['app']}: by the old yardstick gate {gate['id']} would {words[gate['verdict']]}: {gate['reason']}"
        for gate in old
        if gate["verdict"] in words and gate["verdict"] != gate["now"]
    ]


def old_verdicts(
    yardstick: Yardstick,
    verdict: Mapping[str, Any],
    decide: Callable[[Mapping[str, SuiteFiles]], RunVerdict],
) -> list[dict[str, Any]]:
    """What each gate of the old yardstick says of the candidate, beside what the gate of that name says ``now``.

    ``decide`` gives the verdict of the old rows by the gates of the suites that it is given.
    """
    if not yardstick.old:
        return []
    now = {(gate["app"], gate["id"]): gate["verdict"] for gate in verdict["gates"]}
    decided = decide(yardstick.old)
    return [
        {name: getattr(gate, name) for name in ("app", "id", "metric", "required", "n", "verdict", "reason")}
        | {"now": now.get((gate.app, gate.id), "removed")}
        for gate in decided.gates
    ]
