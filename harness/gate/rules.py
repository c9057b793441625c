"""The rules: what one gate needs to pass, what p-value it may fail on, and what would settle it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.gate.inferences import Found, infer, oriented, wanted_up
from harness.gate.minimum import NEVER, minimum_cases
from harness.gate.samples import Sample
from harness.gate.verdicts import GateVerdict
from harness.gate.wording import lost_rows, numbers, settle, shortened
from harness.spec.gates import Gate
from harness.stats import Inference, cases_needed, detectable_difference, repeats_needed
from harness.stats.distributions import normal_quantile, t_quantile

MOST_REPEATS = 20
FARTHEST = 100
"""More than so many times the present cases is not advice that anybody can follow."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One gate after its statistics and before Holm: ``passes`` is final, failing waits for the adjusted p-value.

    ``may_fail`` says that the rule's other conditions for failing hold; ``fragile`` that rows without a value, counted
    at their worst, turn a pass down; ``clean_p`` is the p-value without them.
    """

    verdict: GateVerdict
    gate: Gate
    unit: str = "share"
    passes: bool = False
    may_fail: bool = False
    fragile: bool = False
    clean_p: float = 1.0
    better: Inference | None = None
    within: float = math.nan


def blank(app: str, gate: Gate, **changes: object) -> GateVerdict:
    """The gate's verdict record before anything is known of it."""
    record = GateVerdict(
        app=app,
        id=gate.id,
        metric=gate.metric,
        step=gate.step,
        slice=gate.slice,
        rule=gate.rule,
        statistic=gate.statistic,
        required=gate.required,
        better=gate.better,
        threshold=gate.threshold,
        confidence=gate.confidence,
        why=gate.why,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def bounds(gate: Gate) -> tuple[float, float]:
    """The bound to clear for a pass and the one to lie below for a fail, read so that higher is better.

    ``no_worse_than_baseline_by`` m passes above -m and fails below 0 (once it reaches -m); every other rule has one
    bound for both.
    """
    if gate.rule == "no_worse_than_baseline_by":
        return -gate.threshold, 0.0
    if gate.rule == "better_than_baseline_by":
        return gate.threshold, gate.threshold
    bound = gate.threshold if wanted_up(gate) else -gate.threshold
    return bound, bound


def clears(gate: Gate, better: Inference, confidence: float) -> bool:
    """Whether the one-sided lower bound clears the gate's bound; a margin must be kept strictly."""
    low, bound = float(better.low(confidence)), bounds(gate)[0]
    return low > bound if gate.paired else low >= bound - 1e-12


def try_gate(app: str, gate: Gate, sample: Sample, *, confidence: float, seed: int = 0) -> Trial:
    """Everything about one gate that its own rows tell.

    Rows without a value stay out of the estimate. If there are any, the gate passes only if it also would with each
    at its worst, and may fail only on the p-value with each at its best.
    """
    found = infer(sample, gate, seed=seed)
    better = oriented(gate, found)
    verdict = _numbers(blank(app, gate, confidence=confidence), sample, found)
    share = sample.lost / sample.rows
    if share > gate.max_unscored:
        lost = lost_rows(verdict.errors, verdict.unscored)
        reason = f"{lost} among {sample.rows} rows: more than the {100 * gate.max_unscored:g} % allowed"
        reason += f" ({shortened(sample.why)})" if sample.why else ""
        return Trial(replace(verdict, reason=reason), gate, sample.unit)
    cleared = clears(gate, better, confidence)
    p_value = _p(better, bounds(gate)[1])
    passes, worst_p = cleared, p_value
    if sample.lost:
        passes = cleared and clears(gate, _imputed(sample, gate, worst=True, seed=seed), confidence)
        best = _imputed(sample, gate, worst=False, seed=seed)
        worst_p = max(p_value, _p(best, bounds(gate)[1]))
    may_fail = not cleared and float(better.high(confidence)) < bounds(gate)[1]
    within = sample.within()
    verdict = replace(verdict, p_value=worst_p, sampled=within > 0)
    return Trial(verdict, gate, sample.unit, passes, may_fail, cleared != passes, p_value, better, within)


def conclude(trial: Trial, alpha: float) -> GateVerdict:
    """The gate's verdict once its adjusted p-value is known: it fails at or below ``alpha``."""
    verdict = trial.verdict
    if trial.better is None:
        return verdict
    p_value = verdict.p_adjusted if verdict.p_adjusted is not None else verdict.p_value
    found = numbers(verdict, trial.unit)
    if trial.passes:
        worse = float(trial.better.high(verdict.confidence)) < bounds(trial.gate)[1]
        return replace(verdict, verdict="pass", reason=f"worse, but within the margin: {found}" if worse else found)
    if trial.may_fail and p_value is not None and p_value <= alpha:
        return replace(verdict, verdict="fail", reason=found)
    if trial.may_fail and trial.clean_p <= alpha:
        trial = replace(trial, fragile=verdict.errors + verdict.unscored > 0)
    verdict = _with_needs(trial, alpha)
    return replace(verdict, reason=f"{_undecided(trial, verdict)}: {found}" + _advice(verdict))


def _numbers(verdict: GateVerdict, sample: Sample, found: Found) -> GateVerdict:
    distance = None
    if found.clusters >= 2:
        se = _wide_se(found.inference, verdict.confidence, found.clusters - 1)
        distance = detectable_difference(se, found.clusters - 1, confidence=verdict.confidence)
    return replace(
        verdict,
        n=found.n,
        clusters=found.clusters,
        repeats=sample.repeats,
        estimate=_finite(float(found.inference.estimate)),
        low=_finite(float(found.inference.low(verdict.confidence))),
        high=_finite(float(found.inference.high(verdict.confidence))),
        baseline=_finite(found.baseline),
        candidate=_finite(found.candidate),
        detectable=_finite(distance),
        changed=found.changed,
        errors=sample.errors,
        unscored=sample.unscored,
        method=found.inference.method,
    )


def _imputed(sample: Sample, gate: Gate, *, worst: bool, seed: int) -> Inference:
    lowest = gate.minimum if gate.minimum is not None else -np.inf
    highest = gate.maximum if gate.maximum is not None else np.inf
    bad, good = (lowest, highest) if wanted_up(gate) else (highest, lowest)
    filled = sample.filled(bad, good) if worst else sample.filled(good, bad)
    return oriented(gate, infer(filled, gate, seed=seed))


def _p(better: Inference, bound: float) -> float:
    p_value = float(better.p_below(bound))
    return 1.0 if math.isnan(p_value) else p_value


def _wide_se(inference: Inference, confidence: float, df: int) -> float:
    """The standard error that the interval's width amounts to: never 0, unlike one of values that are all equal."""
    width = float(inference.high(confidence)) - float(inference.low(confidence))
    return max(float(inference.se), width / (2 * float(t_quantile(confidence, df))))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _undecided(trial: Trial, verdict: GateVerdict) -> str:
    if verdict.low is None and verdict.high is None:
        if verdict.clusters < 2:
            return f"{verdict.clusters} independent case(s) cannot be judged"
        if verdict.statistic == "quantile":
            return "too few cases to bound this quantile, or its value never varied"
        return "nothing varied and the metric's range is open (give minimum and maximum)"
    if trial.fragile:
        return f"the answer depends on {lost_rows(verdict.errors, verdict.unscored)}"
    if trial.may_fail:
        return "likely broken, but not proven at the error rate promised for the whole run"
    return "not enough evidence either way"


def _advice(verdict: GateVerdict) -> str:
    way = settle(verdict)
    return f"; to settle it, {way}" if way else ""


def _with_needs(trial: Trial, alpha: float) -> GateVerdict:
    """The cases or repeats with which the present estimate would be decided with 80 % power."""
    verdict, better = trial.verdict, trial.better
    if trial.fragile or better is None or verdict.n == 0:
        return verdict
    minimum = minimum_cases(trial.gate)
    fewest = max(0, minimum - verdict.n) if minimum < NEVER else 0
    se, estimate = float(better.se), float(better.estimate)
    if not (math.isfinite(se) and math.isfinite(estimate)):
        return replace(verdict, need_cases=fewest or None)
    to_pass, to_fail = bounds(trial.gate)
    distance, confidence = estimate - to_pass, verdict.confidence
    if distance <= 0:
        distance, confidence, fewest = to_fail - estimate, 1 - alpha, 0
    total = cases_needed(distance, se * math.sqrt(verdict.n), confidence=confidence)
    if total <= verdict.n and not fewest:
        # The guard of few changed cases decides here, not the standard error.
        se = _wide_se(better, verdict.confidence, verdict.clusters - 1)
        total = cases_needed(distance, se * math.sqrt(verdict.n), confidence=confidence)
    if total > FARTHEST * verdict.n:
        return replace(verdict, need_cases=fewest or None)
    return replace(
        verdict,
        need_cases=max(int(total) - verdict.n, fewest) or None,
        need_repeats=_repeats(trial, distance, confidence, se) if not fewest else None,
    )


def _repeats(trial: Trial, distance: float, confidence: float, se: float) -> int | None:
    verdict = trial.verdict
    if trial.gate.statistic == "quantile" or not trial.within > 0:
        return None
    between = verdict.n * se**2 - trial.within / max(verdict.repeats, 1)
    target = distance / (normal_quantile(confidence) + normal_quantile(0.8))
    repeats = repeats_needed(target, between, trial.within, verdict.n)
    return int(repeats) if verdict.repeats < repeats <= MOST_REPEATS else None
