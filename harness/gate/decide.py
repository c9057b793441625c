"""The decision: measurements and gates in, one verdict out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.errors import SignoffError
from harness.gate.next_action import next_action, reasons
from harness.gate.rules import Trial, blank, conclude, try_gate
from harness.gate.samples import Table
from harness.gate.totals import try_total
from harness.gate.verdicts import AppArms, GateVerdict, RunOutcome, RunVerdict, StageResult
from harness.spec.gates import Gate
from harness.spec.measurement import Measurement
from harness.stats import Looks, holm

ALPHA_FAIL = 0.02
"""The chance that a run with nothing wrong in it fails at all."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to decide: ``changes`` names what the candidate changed ("prompt support/triage 1.1.0 -> 1.2.0").

    ``look`` of ``looks.planned`` says how often these gates have been decided on growing data. ``seed`` drives the
    bootstrap of quantile differences. ``stage_of(app, metric)`` is the stage that measures a metric, None if unknown;
    ``compares(app, metric)`` whether the metric itself sets the candidate against the baseline; ``idle(app, metric)``
    why it is right that nothing was measured, so that having no row is no question left open; empty if it is not.
    """

    alpha_fail: float = ALPHA_FAIL
    changes: Sequence[str] = ()
    looks: Looks = field(default_factory=Looks)
    look: int = 1
    seed: int = 0
    stage_of: Callable[[str, str], str | None] = lambda _app, _metric: None
    compares: Callable[[str, str], bool] = lambda _app, _metric: False
    idle: Callable[[str, str], str] = lambda _app, _metric: ""


def decide(
    rows: Iterable[Measurement],
    gates: Mapping[str, Sequence[Gate]],
    *,
    profile: str,
    apps: Mapping[str, AppArms],
    stages: Sequence[StageResult] = (),
    options: Options | None = None,
) -> RunVerdict:
    """The verdict of a run over ``rows`` (read once, in any order) for the gates of each app.

    Error rates are promised for the whole run. It passes only when every required gate passes: an
    intersection-union test (Berger 1982, Technometrics 24, 295-300), whose chance of a wrong pass is at most that of
    one gate, so each gate uses its own one-sided confidence uncorrected. It fails as soon as one required gate
    fails: failing therefore uses Holm's correction over the required gates at the family-wise level
    ``options.alpha_fail``. Advisory gates are judged alone at that level and never block. With several looks both
    error rates are what the spending function leaves to this look. Totals are exact and take no part in any of this.

    Raises SignoffError when a gate belongs to an app that ``apps`` does not name.
    """
    options = options or Options()
    chosen = {app: [gate for gate in listed if profile in gate.profiles] for app, listed in gates.items()}
    unknown = sorted(app for app in chosen if app not in apps)
    if unknown:
        raise SignoffError(f"gates of {', '.join(unknown)}: no such app in this run (it has {', '.join(apps)})")
    table = Table(rows, chosen)
    trials = [
        _try(table, app, gate, apps[app], (stages, options))
        for app, listed in sorted(chosen.items())
        for gate in listed
    ]
    alpha = options.looks.spent(options.alpha_fail, options.look)
    concluded = (conclude(trial, alpha) for trial in _adjusted(trials))
    decided = tuple(replace(gate, stage=options.stage_of(gate.app, gate.metric) or "") for gate in concluded)
    verdict = _roll_up(decided, stages)
    return RunVerdict(
        verdict=verdict,
        next_action=next_action(verdict, decided, stages, options.changes),
        profile=profile,
        apps=dict(apps),
        reasons=reasons(decided, stages, profile),
        gates=decided,
        stages=tuple(stages),
        look=options.look,
        looks_planned=options.looks.planned,
    )


def needs_another_look(verdict: RunVerdict) -> bool:
    """Whether a further planned look, with more repeats, may turn this verdict into a pass or a fail.

    True when the run is inconclusive, looks are left, and every required gate that is undecided has cases whose
    repeats differ (the others need cases, not repeats).
    """
    if verdict.verdict != "inconclusive" or verdict.look >= verdict.looks_planned:
        return False
    undecided = [gate for gate in verdict.gates if gate.required and gate.verdict == "inconclusive"]
    return bool(undecided) and all(gate.sampled for gate in undecided)


def _try(table: Table, app: str, gate: Gate, arms: AppArms, context: tuple[Sequence[StageResult], Options]) -> Trial:
    stages, options = context
    if (gate.paired or options.compares(app, gate.metric)) and not arms.changed:
        reason = "nothing changed" if arms.baseline is not None else "no baseline: new app"
        return Trial(blank(app, gate, verdict="not_applicable", reason=reason), gate)
    sample = table.sample(app, gate, paired=gate.paired, same=not arms.changed)
    confidence = options.looks.confidence(gate.confidence, options.look)
    if sample is None and (idle := options.idle(app, gate.metric)):
        return Trial(blank(app, gate, verdict="not_applicable", reason=idle), gate)
    if sample is None:
        reason = _no_rows(gate, stages, options.stage_of(app, gate.metric))
        return Trial(blank(app, gate, confidence=confidence, reason=reason), gate)
    if gate.statistic == "total":
        return try_total(app, gate, sample)
    return try_gate(app, gate, sample, confidence=confidence, seed=options.seed)


def _no_rows(gate: Gate, stages: Sequence[StageResult], measured_by: str | None) -> str:
    place = "" if gate.slice == "all" else f" in slice {gate.slice}"
    step = f" of step {gate.step}" if gate.step else ""
    missing = f"no measurement of {gate.metric}{step}{place}"
    lost = [stage for stage in stages if stage.status != "ok" and measured_by in (None, stage.name)]
    why = [f"stage {stage.name} {_ended(stage)}" for stage in lost]
    return missing + (f" ({'; '.join(why)})" if why else "")


def _ended(stage: StageResult) -> str:
    if stage.status == "broken":
        return "broke and gave no or not all rows"
    return f"was {stage.reason}" if stage.reason.startswith("left out") else f"did not run: {stage.reason}"


def _adjusted(trials: Sequence[Trial]) -> list[Trial]:
    """Holm over the required gates that apply; one that could not be tested counts with p = 1."""
    family = [i for i, t in enumerate(trials) if t.gate.required and _tested(t)]
    values = [trials[i].verdict.p_value for i in family]
    adjusted = holm([1.0 if p is None else p for p in values]).tolist()
    result = list(trials)
    for index, p_value, p_adjusted in zip(family, values, adjusted, strict=True):
        if p_value is not None:
            trial = trials[index]
            result[index] = replace(trial, verdict=replace(trial.verdict, p_adjusted=p_adjusted))
    return result


def _tested(trial: Trial) -> bool:
    return trial.gate.statistic != "total" and trial.verdict.verdict != "not_applicable"


def _roll_up(gates: Sequence[GateVerdict], stages: Sequence[StageResult]) -> RunOutcome:
    required = {gate.verdict for gate in gates if gate.required}
    if "fail" in required:
        return "fail"
    if any(stage.status == "broken" for stage in stages):
        return "error"
    # A run in which no gate spoke has proven nothing.
    return "inconclusive" if "inconclusive" in required or not gates else "pass"
