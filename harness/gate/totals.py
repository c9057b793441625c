"""Totals: what is counted in full has no interval and needs no test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.gate.rules import Trial, blank
from harness.gate.samples import Sample
from harness.gate.verdicts import GateOutcome
from harness.gate.wording import counted, level, lost_rows, shortened
from harness.spec.gates import Gate

METHOD = "total"


def try_total(app: str, gate: Gate, sample: Sample) -> Trial:
    """The gate's verdict by the sum over the candidate's rows.

    With rows without a value it passes only if it would with each at its worst (the end of the metric's range), fails
    only if it would with each at its best, and is undecided between the two.
    """
    values = sample.candidate.values
    known = values[~np.isnan(values)]
    total, lost = float(known.sum()), int(values.size - known.size)
    least, most = total + lost * _end(gate.minimum, -np.inf, lost), total + lost * _end(gate.maximum, np.inf, lost)
    verdict: GateOutcome = "inconclusive"
    if _holds(gate, least) and _holds(gate, most):
        verdict = "pass"
    elif not _holds(gate, least) and not _holds(gate, most):
        verdict = "fail"
    record = replace(
        blank(app, gate, verdict=verdict, reason=_reason(gate, sample, total)),
        n=int(np.unique(sample.candidate.cases).size),
        clusters=int(np.unique(sample.clusters).size),
        repeats=sample.repeats,
        estimate=total,
        candidate=total,
        low=least if np.isfinite(least) else None,
        high=most if np.isfinite(most) else None,
        errors=sample.errors,
        unscored=sample.unscored,
        method=METHOD,
        told=sample.told if verdict == "fail" else (),
    )
    return Trial(record, gate, sample.unit)


def _end(end: float | None, open_end: float, lost: int) -> float:
    if not lost:
        return 0.0
    return open_end if end is None else end


def _holds(gate: Gate, total: float) -> bool:
    # Sums of many shares are not exact to the last bit.
    slack = 1e-9 * max(1.0, abs(gate.threshold))
    return total >= gate.threshold - slack if gate.rule == "at_least" else total <= gate.threshold + slack


def _reason(gate: Gate, sample: Sample, total: float) -> str:
    unit = "" if sample.unit == "share" else sample.unit
    asked = f"{gate.rule.replace('_', ' ')} {level(gate.threshold, unit)}"
    said = f"{level(total, unit)} of {asked} (all {counted(sample.rows, 'row')} counted)"
    if lost := lost_rows(sample.errors, sample.unscored):
        said += f", {lost} not known" + (f" ({shortened(sample.why)})" if sample.why else "")
    return said + "".join(f"; case {case} {reason}" for case, reason in sample.told)
