"""The main job as a list of steps: plan, measure, decide, report. Each takes what the ones before it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from harness.gate import (
    AppArms,
    RunVerdict,
    apply_approval,
    decide,
    needs_another_look,
    read_approvals,
)
from harness.gate import Options as DecideOptions
from harness.report import write_reports
from harness.run.branches import Counts, measured_branches, unmeasured
from harness.run.check import warnings_of
from harness.run.manifest import manifest, yardstick_of
from harness.run.measure import StageReport, measure
from harness.run.options import Options
from harness.run.plan import Plan, make_plan
from harness.spec.measurement import Measurement, read_measurements
from harness.stats import Looks
from harness.store import RunFolder


@dataclass
class GateRun:
    """What the steps hand on. A step sets its field once."""

    options: Options
    started: float = field(default_factory=time.time)
    plan: Plan | None = None
    folder: RunFolder | None = None
    stages: list[StageReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    branches: Counts = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> tuple[Plan, RunFolder]:
        """Plan and folder; only after the first step."""
        assert self.plan is not None and self.folder is not None
        return self.plan, self.folder


def plan_run(run: GateRun) -> None:
    """Read the versioned files of both trees; nothing is written when they are invalid."""
    run.plan = make_plan(run.options)
    run.warnings = warnings_of(run.plan.repository)
    run.folder = RunFolder.create(run.options.reports)


def measure_regression(run: GateRun) -> None:
    """Ask both arms and score them."""
    plan, folder = run.ready
    stage = measure(run.options, plan, folder, again=lambda app, look: _undecided(run, app, look))
    run.stages.append(stage)
    if not stage.broken:
        run.branches = measured_branches(plan.repository, folder.path / "artifacts" / stage.name / "outputs.jsonl")
        run.warnings += unmeasured(plan.repository, run.branches)


def decide_verdict(run: GateRun) -> None:
    """Turn measurements into the one verdict."""
    plan, folder = run.ready
    verdict = _decide(run, list(plan.repository.apps), _all_rows(run))
    wall = round(time.time() - run.started, 3)
    run.verdict = verdict.as_dict() | {
        "run_id": folder.run_id,
        "model_calls": sum(stage.model_calls for stage in run.stages),
        "cached_calls": sum(stage.cached_calls for stage in run.stages),
        "wall_s": wall,
        "stages": [stage.as_dict() for stage in run.stages],
    }
    approvals = read_approvals(run.options.root / APPROVALS)
    yardstick = yardstick_of(plan)
    run.verdict = apply_approval(run.verdict, approvals, datetime.now(UTC).date(), yardstick=yardstick)
    folder.write_json("verdict.json", run.verdict)


def write_report(run: GateRun) -> None:
    """Write report, summary and JUnit, then the manifest, which makes the folder whole."""
    plan, folder = run.ready
    finished = time.time()
    times = {"run_id": folder.run_id, "started": iso(run.started), "finished": iso(finished)}
    content = manifest(run.options, plan, run.stages, times | {"wall_s": run.verdict["wall_s"]}, run.warnings)
    content["branches"] = run.branches
    write_reports(folder.path, content, run.verdict)
    folder.finish(content)


# Approvals are committed: they travel with the change that they approve.
APPROVALS = "suites/approvals.jsonl"

STEPS: tuple[Callable[[GateRun], None], ...] = (plan_run, measure_regression, decide_verdict, write_report)


def gate(options: Options) -> GateRun:
    """Run all steps; UsageError before anything is written, SignoffError when the harness itself fails."""
    run = GateRun(options)
    for step in STEPS:
        step(run)
    return run


def _all_rows(run: GateRun) -> Iterator[Measurement]:
    _, folder = run.ready
    files = sorted((folder.path / "measurements").glob("*.jsonl"))
    return chain.from_iterable(read_measurements(file) for file in files)


def _decide(run: GateRun, apps: Sequence[str], rows: Iterator[Measurement], look: int = 0) -> RunVerdict:
    plan, _ = run.ready
    suites = plan.repository.suites
    arms = {
        name: AppArms(
            plan.repository.apps[name].digest, plan.baselines[name].digest if name in plan.baselines else None
        )
        for name in apps
    }
    return decide(
        rows,
        {name: suites[name].gates for name in apps},
        profile=run.options.profile,
        apps=arms,
        stages=[stage.result() for stage in run.stages],
        options=DecideOptions(
            changes=[line for name in apps if plan.changed(name) for line in plan.changes(name)],
            looks=Looks(max(suites[name].suite.max_looks for name in apps)),
            look=max(look, *(stage.looks for stage in run.stages), 1) if run.stages else max(look, 1),
        ),
    )


def _undecided(run: GateRun, app: str, look: int) -> bool:
    return needs_another_look(_decide(run, [app], (row for row in _all_rows(run) if row.app == app), look))


def iso(moment: float) -> str:
    """The moment as UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
