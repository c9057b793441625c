"""From a sample and a gate to an inference: which statistic, over which range, and which direction is good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.gate.samples import Codes, Floats, Sample
from harness.spec.gates import Gate
from harness.stats import Arm, Inference, Mirrored, Unknown, mean, paired_mean, quantile, quantile_difference, rate


@dataclass(frozen=True, slots=True)
class Found:
    """An inference in the metric's own direction, the cases it rests on, and the value of each variant."""

    inference: Inference
    n: int = 0
    clusters: int = 0
    changed: int | None = None
    baseline: float | None = None
    candidate: float | None = None


def infer(sample: Sample, gate: Gate, *, seed: int = 0) -> Found:
    """The inference for ``gate`` from the rows of ``sample`` that have a value.

    The unit is the case (the mean over its repeats), the cluster its group; a quantile is one over all rows, with
    whole clusters as the unit of uncertainty. Fewer than two clusters give ``Unknown``.
    """
    if gate.statistic == "quantile":
        return _quantile(sample, gate, seed)
    return _difference(sample, gate) if gate.paired else _level(sample, gate)


def wanted_up(gate: Gate) -> bool:
    """Whether the gate wants the number it tests (a value, or candidate - baseline) to be high."""
    return gate.better == "higher" if gate.paired else gate.rule == "at_least"


def oriented(gate: Gate, found: Found) -> Inference:
    """The inference read so that higher is what the gate wants."""
    return found.inference if wanted_up(gate) else Mirrored(found.inference)


def _difference(sample: Sample, gate: Gate) -> Found:
    candidate, baseline = sample.candidate.means(sample.n), sample.baseline.means(sample.n)
    keep = ~np.isnan(candidate) & ~np.isnan(baseline)
    candidate, baseline = candidate[keep], baseline[keep]
    codes, clusters = _clusters(sample, keep)
    low, high = _range(gate, np.concatenate([candidate, baseline]))
    with np.errstate(invalid="ignore"):
        differences = candidate - baseline
    found: Inference = Unknown(np.asarray(_mean(differences), dtype=float))
    if clusters >= 2 and np.isfinite(high - low):
        found = paired_mean(differences, codes, extent=high - low)
    changed = int((np.abs(differences) > 1e-9).sum())
    return Found(found, differences.size, clusters, changed, _mean(baseline), _mean(candidate))


def _level(sample: Sample, gate: Gate) -> Found:
    values = sample.candidate.means(sample.n)
    keep = ~np.isnan(values)
    values = values[keep]
    codes, clusters = _clusters(sample, keep)
    low, high = _range(gate, values)
    found: Inference = Unknown(np.asarray(_mean(values), dtype=float))
    if clusters >= 2 and np.isfinite(high - low):
        if gate.statistic == "rate":
            rows = sample.candidate.scored().values.size
            found = rate(values, codes, minimum=low, maximum=high, rows=rows)
        else:
            found = mean(values, codes, minimum=low, maximum=high)
    return Found(found, values.size, clusters, candidate=_mean(values))


def _quantile(sample: Sample, gate: Gate, seed: int) -> Found:
    probability = gate.quantile if gate.quantile is not None else 0.5
    ours, theirs = sample.candidate.scored(), sample.baseline.scored()
    cases = np.unique(np.concatenate([ours.cases, theirs.cases]))
    clusters = int(np.unique(sample.clusters[cases]).size)
    enough = clusters >= 2 and ours.values.size > 0 and (theirs.values.size > 0 or not gate.paired)
    if not enough:
        return Found(Unknown(np.asarray(np.nan)), int(cases.size), clusters)
    values = [_point(arm.values, probability) for arm in (ours, theirs)]
    mine = Arm(ours.values, sample.clusters[ours.cases])
    if gate.paired:
        other = Arm(theirs.values, sample.clusters[theirs.cases])
        found = quantile_difference(mine, other, probability, seed=seed)
        return Found(found, int(cases.size), clusters, None, values[1], values[0])
    alone = np.unique(mine.codes).size == mine.codes.size
    found = quantile(mine.values, probability, None if alone else mine.codes)
    return Found(found, int(cases.size), clusters, candidate=values[0])


def _range(gate: Gate, values: Floats) -> tuple[float, float]:
    """The metric's range; for an end that is not declared, what was seen (with 0) stands in.

    Without any extent the range is infinite: nothing then bounds what other cases could do.
    """
    seen = np.append(values, 0.0)
    low = gate.minimum if gate.minimum is not None else float(seen.min())
    high = gate.maximum if gate.maximum is not None else float(seen.max())
    if values.size:
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if high > low else (low, np.inf)


def _clusters(sample: Sample, keep: NDArray[np.bool_]) -> tuple[Codes | None, int]:
    codes = sample.clusters[keep]
    count = int(np.unique(codes).size)
    return (None if count == codes.size else codes), count


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _point(values: Floats, probability: float) -> float | None:
    return float(np.quantile(values, probability, method="inverted_cdf")) if values.size else None
