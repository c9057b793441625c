"""The main job as a list of steps: plan, measure, decide, report. Each takes what the ones before it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.gate import (
    AppArms,
    RunVerdict,
    apply_approval,
    decide,
    hold,
    needs_another_look,
    read_approvals,
)
from harness.gate import Options as DecideOptions
from harness.report import write_reports
from harness.run.affected import untouched
from harness.run.branches import Counts, measured_branches, unmeasured
from harness.run.check import warnings_of
from harness.run.graded_settings import refuse_wrong_settings
from harness.run.manifest import iso, manifest, yardstick_of
from harness.run.options import Options
from harness.run.parts import finish_part, take_parts
from harness.run.plan import Plan, make_plan
from harness.run.stages import STAGES, Context, StageReport, chosen
from harness.run.watch.latest import last_watch
from harness.run.yardstick import Yardstick, compare_yardsticks
from harness.run.yardstick_old import measure_old, old_rows, old_verdicts, sentences
from harness.spec.measurement import Measurement, read_measurements
from harness.spec.repository import SuiteFiles
from harness.stats import Looks
from harness.store import RunFolder


@dataclass
class GateRun:
    """What the steps hand on. A step sets its field once."""

    options: Options
    started: float = field(default_factory=time.time)
    plan: Plan | None = None
    yardstick: Yardstick = field(default_factory=Yardstick)
    folder: RunFolder | None = None
    stages: list[StageReport] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    branches: Counts = field(default_factory=dict)
    untouched: frozenset[str] = frozenset()
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> tuple[Plan, RunFolder]:
        """Plan and folder; only after the first step."""
        assert self.plan is not None and self.folder is not None
        return self.plan, self.folder


def plan_run(run: GateRun) -> None:
    """Read the versioned files of both trees; nothing is written when they are invalid."""
    left_out = chosen(run.options.only, run.options.skip)
    run.plan = make_plan(run.options)
    if not left_out["evals"] and not run.options.parts:
        refuse_wrong_settings(run.plan.repository)
    run.yardstick = compare_yardsticks(run.plan, run.options.apps)
    run.warnings = [move.sentence for move in run.yardstick.moves] + warnings_of(run.plan.repository)
    run.folder = RunFolder.create(run.options.reports)


def measure_stages(run: GateRun) -> None:
    """Let every stage measure the apps that declare something for it; one that breaks leaves the others alone."""
    plan, folder = run.ready
    if run.options.parts:
        run.untouched = untouched(run.options.root, plan, run.yardstick)
        run.stages = take_parts(run.options, plan, folder, run.untouched)
    else:
        _measure_here(run, plan, folder)
    if (seen := last_watch(run.options.reports, plan.repository.apps)) is not None:
        run.stages.append(seen)
    outputs = folder.path / "artifacts" / "regression" / "outputs.jsonl"
    if outputs.is_file() and not any(stage.broken for stage in run.stages if stage.name == "regression"):
        run.branches = measured_branches(plan.repository, outputs)
        run.warnings += unmeasured(plan.repository, run.branches)


def _measure_here(run: GateRun, plan: Plan, folder: RunFolder) -> None:
    reasons = chosen(run.options.only, run.options.skip)
    apps = {
        stage: tuple(name for name, suite in plan.repository.suites.items() if STAGES[stage].applies(suite))
        for stage in STAGES
    }
    contexts = {
        stage: Context(run.options, plan, folder, names, lambda app, look: _undecided(run, app, look))
        for stage, names in apps.items()
        if names
    }
    for stage, context in contexts.items():
        if not reasons[stage]:
            STAGES[stage].prepare(context)
    for stage, context in contexts.items():
        if reasons[stage]:
            run.stages.append(StageReport(stage, skipped=reasons[stage]))
            continue
        run.stages.append(_measured(stage, context))
        measure_old(context, run.stages[-1], run.yardstick)


def _measured(name: str, context: Context) -> StageReport:
    started = time.monotonic()
    try:
        return STAGES[name].measure(context)
    except UsageError:
        # Nothing can be measured until the file or the environment is mended.
        raise
    except SignoffError as error:
        return StageReport(name, broken=str(error), seconds=time.monotonic() - started)


def decide_verdict(run: GateRun) -> None:
    """Turn measurements into the one verdict."""
    plan, folder = run.ready
    verdict = _decide(run, plan.repository.suites, _all_rows(run))
    wall = round(time.time() - run.started, 3)
    run.verdict = verdict.as_dict() | {
        "run_id": folder.run_id,
        "model_calls": sum(stage.model_calls for stage in run.stages),
        "cached_calls": sum(stage.cached_calls for stage in run.stages),
        "wall_s": wall,
        "stages": [stage.as_dict() for stage in run.stages],
    }
    old = old_verdicts(
        run.yardstick,
        run.verdict,
        lambda suites: _decide(run, suites, old_rows(folder.path, _all_rows(run), run.yardstick)),
    )
    run.warnings += sentences(old)
    run.verdict = hold(run.verdict, [move.as_dict() for move in run.yardstick.moves], old)
    approvals = read_approvals(run.options.root / APPROVALS)
    yardstick = yardstick_of(plan)
    run.verdict = apply_approval(run.verdict, approvals, datetime.now(UTC).date(), yardstick=yardstick)
    folder.write_json("verdict.json", run.verdict)


def keep_references(run: GateRun) -> None:
    """Keep what traffic will be compared with, if the run was accepted."""
    if run.verdict["exit_code"] == 0:
        from harness.run.references import keep_references as keep

        run.warnings += keep(run.options, *run.ready)


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

STEPS: tuple[Callable[[GateRun], None], ...] = (plan_run, measure_stages, decide_verdict, keep_references, write_report)


def gate(options: Options) -> GateRun:
    """Run all steps; UsageError before anything is written, SignoffError when the harness itself fails."""
    run = GateRun(options)
    for step in STEPS:
        step(run)
    return run


def measure_only(options: Options) -> GateRun:
    """Measure the chosen stages and decide nothing; the run folder is a part that ``gate`` can put together."""
    run = GateRun(options)
    plan_run(run)
    measure_stages(run)
    finish_part(options, *run.ready, run.stages, run.started)
    return run


def _all_rows(run: GateRun) -> Iterator[Measurement]:
    _, folder = run.ready
    files = sorted((folder.path / "measurements").glob("*.jsonl"))
    return chain.from_iterable(read_measurements(file) for file in files)


def _decide(run: GateRun, suites: Mapping[str, SuiteFiles], rows: Iterator[Measurement], look: int = 0) -> RunVerdict:
    plan, _ = run.ready
    arms = {
        name: AppArms(
            plan.repository.apps[name].digest, plan.baselines[name].digest if name in plan.baselines else None
        )
        for name in suites
    }
    return decide(
        rows,
        {name: suite.gates for name, suite in suites.items()},
        profile=run.options.profile,
        apps=arms,
        stages=[stage.result() for stage in run.stages],
        options=DecideOptions(
            changes=[line for name in suites if plan.changed(name) for line in plan.changes(name)],
            stage_of=lambda app, metric: suites[app].stage_of(metric),
            compares=lambda app, metric: suites[app].compares(metric),
            idle=lambda app, metric: suites[app].idle(metric) or _untouched(run, app, suites[app].stage_of(metric)),
            looks=Looks(max(suite.suite.max_looks for suite in suites.values())),
            look=max(look, *(stage.looks for stage in run.stages), 1) if run.stages else max(look, 1),
        ),
    )


def _untouched(run: GateRun, app: str, stage: str | None) -> str:
    return "nothing that it measures changed" if app in run.untouched and stage != "data" else ""


def _undecided(run: GateRun, app: str, look: int) -> bool:
    plan, _ = run.ready
    suites = {app: plan.repository.suites[app]}
    return needs_another_look(_decide(run, suites, (row for row in _all_rows(run) if row.app == app), look))
