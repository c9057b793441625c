"""Verdicts on drift: distances between samples as trials of the gate room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.gate import ALPHA_FAIL, GateVerdict
from harness.gate.rules import Trial, blank, conclude
from harness.monitor import Moved
from harness.spec.gates import Gate
from harness.spec.monitor import Drift
from harness.stats import Mirrored, holm


def decide_shifts(app: str, drift: Drift, moved: Sequence[Moved]) -> list[GateVerdict]:
    """One verdict for each feature.

    It passes when the distance is proven below the feature's threshold. It fails when both hold: the exact test
    rejects "one distribution", corrected by Holm over the features, and the distance exceeds the threshold. A
    difference that is surely there and too small to matter is no alarm.
    """
    trials = [_trial(app, drift, each) for each in moved]
    adjusted = holm([1.0 if trial.verdict.p_value is None else trial.verdict.p_value for trial in trials]).tolist()
    concluded = []
    for trial, p_adjusted in zip(trials, adjusted, strict=True):
        if trial.verdict.p_value is not None:
            trial = replace(trial, verdict=replace(trial.verdict, p_adjusted=p_adjusted))
        concluded.append(conclude(trial, ALPHA_FAIL))
    return concluded


def _trial(app: str, drift: Drift, moved: Moved) -> Trial:
    feature, shift = moved.feature, moved.shift
    gate = Gate(
        id=f"drift-{feature.id}",
        metric=moved.metric,
        rule="at_most",
        threshold=feature.limit,
        better="lower",
        required=feature.required,
        confidence=drift.confidence,
        maximum=None,
    )
    if shift is None:
        return Trial(blank(app, gate, reason=moved.reason, n=moved.n), gate, moved.unit)
    low, high = float(shift.low(drift.confidence)), float(shift.high(drift.confidence))
    verdict = blank(
        app,
        gate,
        n=moved.n,
        clusters=moved.n,
        estimate=shift.distance,
        candidate=shift.distance,
        low=min(low, shift.distance),
        high=high,
        p_value=shift.same_p,
        method=shift.method,
    )
    passes = high < feature.limit
    may_fail = not passes and shift.distance > feature.limit
    return Trial(verdict, gate, moved.unit, passes, may_fail, False, shift.same_p, Mirrored(shift), math.nan)
