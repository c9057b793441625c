"""What a load test found, for people and for ``summary.json``: percentiles of the raw samples, goodput, noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.load.noise import Control, Noise
from harness.load.rows import within_slo
from harness.load.sample import Sample
from harness.load.schedule import Schedule
from harness.spec.load import LoadProfile, Slo
from harness.spec.measurement import Variant
from harness.stats import rate as rate_of

_PERCENTILES = (50, 90, 95, 99)
_CONFIDENCE = 0.95


def lag_p95(samples: Sequence[Sample]) -> float | None:
    """How late the requests were sent, seconds: 95th percentile, None without any."""
    return float(np.quantile([sample.lag_s for sample in samples], 0.95)) if samples else None


def control_of(schedule: Schedule, samples: Mapping[int, Sample]) -> Control | None:
    """The baseline (or the only arm) against itself, block by block."""
    counted = [block for block in schedule.blocks if block.pair >= 0]
    arm: Variant = "baseline" if any(block.variant == "baseline" for block in counted) else "candidate"
    means = []
    for block in counted:
        found = [samples[shot.number].e2e_s for shot in block.shots if shot.number in samples]
        logs = [math.log(value) for value in found if value is not None]
        if block.variant == arm and logs:
            means.append(sum(logs) / len(logs))
    return Control.of(means)


def summary(
    profile: LoadProfile, schedule: Schedule, samples: Mapping[int, Sample], noise: Noise, void: str
) -> dict[str, Any]:
    """All figures as plain data; seconds, and shares of all requests."""
    arms: dict[Variant, list[tuple[str, Sample]]] = {}
    for block, shot in schedule.measured():
        found = samples.get(shot.number)
        if found is not None:
            arms.setdefault(block.variant, []).append((f"{block.pair}", found))
    return {
        "void": void,
        "rate": profile.rate,
        "slo": profile.slo.model_dump(mode="json"),
        "noise": noise.as_dict(),
        "arms": {name: _arm(rows, profile) for name, rows in sorted(arms.items())},
    }


def _arm(rows: Sequence[tuple[str, Sample]], profile: LoadProfile) -> dict[str, Any]:
    samples = [sample for _, sample in rows]
    counted = [sample.tokens for sample in samples if sample.tokens is not None]
    known = [(pair, within_slo(sample, profile.slo)) for pair, sample in rows]
    return {
        "requests": len(samples),
        "failed": sum(bool(sample.failure) for sample in samples),
        "failures": dict(Counter(sample.failure for sample in samples if sample.failure)),
        "finish_reasons": dict(Counter(sample.finish_reason for sample in samples if not sample.failure)),
        "tokens": sum(counted) if counted else None,
        "cached_prompt_tokens": sum(sample.cached_tokens or 0 for sample in samples),
        "ttft_s": percentiles([sample.ttft_s for sample in samples]),
        "tpot_s": percentiles([sample.tpot_s for sample in samples]),
        "e2e_s": percentiles([sample.e2e_s for sample in samples]),
        "lag_s": percentiles([sample.lag_s for sample in samples]),
        "goodput": goodput([(pair, kept) for pair, kept in known if kept is not None], profile.slo),
    }


def percentiles(values: Sequence[float | None]) -> dict[str, float]:
    """Order statistics of the raw values, not of buckets."""
    found = [value for value in values if value is not None]
    if not found:
        return {}
    return {f"p{p}": float(np.quantile(found, p / 100, method="inverted_cdf")) for p in _PERCENTILES}


def goodput(kept: Sequence[tuple[str, bool]], slo: Slo) -> dict[str, float] | None:
    """The share of requests within the SLO with one-sided 95 % bounds, blocks as clusters; None: nothing is promised.

    Goodput as in Zhong et al. 2024 (DistServe, OSDI), counted over all requests: a failed one is a miss.
    """
    if not kept or slo == Slo():
        return None
    values = np.array([float(good) for _, good in kept])
    _, codes = np.unique([pair for pair, _ in kept], return_inverse=True)
    found = rate_of(values, codes.astype(np.intp), rows=values.size)
    low, high = float(found.low(_CONFIDENCE)), float(found.high(_CONFIDENCE))
    return {"share": float(values.mean()), "low": low, "high": high}


def sentences(app: str, figures: Mapping[str, Any]) -> list[str]:
    """What was found, for the first screen of the report."""
    found = [f"{app}: void, nothing is decided on it: {figures['void']}; re-run"] if figures["void"] else []
    for name, arm in figures["arms"].items():
        if not arm["e2e_s"]:
            found.append(f"{app} {name}: none of {arm['requests']} requests was answered")
            continue
        e2e, ttft = arm["e2e_s"], arm["ttft_s"]
        line = (
            f"{app} {name} at {figures['rate']:g}/s: half of {arm['requests']} requests within {e2e['p50']:.2f} s, "
            f"95 % within {e2e['p95']:.2f} s (first token {ttft['p50']:.2f} and {ttft['p95']:.2f} s)"
        )
        if arm["goodput"]:
            good = arm["goodput"]
            line += f"; {100 * good['share']:.0f} % kept the SLO (at least {100 * good['low']:.0f} %)"
        if arm["failed"]:
            line += f"; {arm['failed']} failed"
        found.append(line)
    return found
