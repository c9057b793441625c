"""What a run does not cover: said on the page, so that nobody reads more into a verdict than was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from harness.data.contamination import BLIND
from harness.report import figures
from harness.report.changes import AppChange, plain_items
from harness.report.folder import Run
from harness.spec.stages import STAGES

# Below this a share's 95 % interval is wider than 30 points whatever the cases say.
FEW = 30


def not_covered(run: Run, changes: list[AppChange]) -> list[str]:
    """Sentences, the manifest's own first, each once."""
    found = [
        *plain_items(run.manifest.get("not_covered")),
        *_stages(run),
        *_apps(changes),
        *_undecidable(run),
        *_branches(run),
        *_few(run),
        *_ungated(run),
    ]
    return list(dict.fromkeys(found))


def _stages(run: Run) -> Iterator[str]:
    seen = {str(stage.get("name")): stage for stage in run.stages}
    absent = [name for name in STAGES if name not in seen]
    if absent:
        yield f"Stages that are not part of this run: {', '.join(absent)}."
    if "data" in seen and seen["data"].get("status") == "ok":
        yield BLIND
    for name, stage in seen.items():
        if stage.get("status") != "ok":
            reason = stage.get("reason") or "no reason given"
            yield f"Stage {name} was {stage.get('status')}: {reason}."


def _apps(changes: list[AppChange]) -> Iterator[str]:
    for change in changes:
        if not change.pinned:
            yield (
                f"App {change.app} is unpinned: its service states no digest of its own, so what was measured here "
                "may not be what answers tomorrow."
            )
        if change.state == "new":
            yield f"App {change.app} has no baseline: nothing says whether it got better or worse."


def _undecidable(run: Run) -> Iterator[str]:
    unit_of = run.units
    for gate in run.gates:
        detectable = gate.get("detectable")
        paired = gate.get("rule") == "no_worse_than_baseline_by"
        if gate.get("verdict") != "inconclusive" or detectable is None or not paired:
            continue
        margin = abs(float(gate.get("threshold") or 0.0))
        if float(detectable) > margin:
            unit = unit_of.get((str(gate.get("app")), str(gate.get("metric"))), "share")
            needed, allowed = (figures.difference(float(x), unit).lstrip("+") for x in (detectable, margin))
            yield (
                f"Gate {gate.get('id')} on slice {gate.get('slice')}: {_cases(gate)} can prove what lies {needed} from "
                f"the threshold, and an unchanged app lies only {allowed} from it."
            )


def _branches(run: Run) -> Iterator[str]:
    for app, steps in sorted((run.manifest.get("branches") or {}).items()):
        for step, counts in sorted(steps.items()):
            missed = [name for name, cases in counts.items() if not cases]
            if missed:
                branches = "Branch" if len(missed) == 1 else "Branches"
                yield f"{branches} of step {step} of {app} that no case reaches: {', '.join(missed)}."


def _few(run: Run) -> Iterator[str]:
    slices: dict[tuple[str, str], int] = {}
    for gate in run.gates:
        small = isinstance(gate.get("n"), int) and gate["n"] < FEW and gate.get("slice", "all") != "all"
        if not gate.get("required") and small:
            slices[str(gate.get("app")), str(gate["slice"])] = gate["n"]
    for (app, name), n in sorted(slices.items()):
        few = figures.plural(n, "case")
        yield f"Slice {name} of {app} has {few}: its gates are advisory, a fall in it does not block."


def _ungated(run: Run) -> Iterator[str]:
    gated = {(str(g.get("app")), str(g.get("metric"))) for g in run.gates}
    sliced = {(str(g.get("app")), str(g.get("slice", "all"))) for g in run.gates}
    metrics: dict[str, set[str]] = defaultdict(set)
    for app, metric in run.units:
        if (app, metric) not in gated:
            metrics[app].add(metric)
    slices = {
        app: {name for name in found if (app, name) not in sliced and name != "all"}
        for app, found in run.slices.items()
    }
    for app, names in sorted(metrics.items()):
        yield f"Metrics of {app} that no gate of this run judges: {', '.join(sorted(names))}."
    for app, names in sorted(slices.items()):
        if names:
            yield f"Slices of {app} without a gate of their own: {', '.join(sorted(names))}."


def _cases(gate: Mapping[str, Any]) -> str:
    n = gate.get("n")
    return figures.plural(n, "case") if isinstance(n, int) else "these cases"
