"""What is told of each candidate: figures measured here beside those of the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run.model_choice.quality import Asked
from harness.run.model_choice.speed import Speed
from harness.run.model_choice.standing import Standing, frontier
from harness.run.model_choice.variants import Variant
from harness.spec.adapters import WEIGHTS
from harness.spec.models import Model

_WIDTH = {"float32": 4, "bfloat16": 2}
_SHARE = 0.6
_PROCESS = 600 * 2**20
"""What torch and its libraries take beside the weights, roughly."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate with all that was measured of it."""

    variant: Variant
    asked: Asked
    speed: Speed


def entry(measured: Sequence[Measured], standing: Standing, *, higher: bool) -> list[dict[str, Any]]:
    """One record for each candidate, the best group first, within a group the fastest first."""
    place = {name: number for number, group in enumerate(standing.groups, start=1) for name in group}
    points = {}
    for each in measured:
        speed, level = each.speed.as_dict(), standing.levels[each.variant.id]["all"]
        if speed is not None and level.estimate is not None:
            points[each.variant.id] = (level.estimate, speed["median_ms"])
    best = frontier(points, higher=higher)
    records = [_record(each, standing, place, best) for each in measured]

    def key(record: Mapping[str, Any]) -> tuple[Any, ...]:
        quality = record["quality"]["estimate"] or 0.0
        speed = record["latency"]["median_ms"] if record["latency"] else float("inf")
        return record["group"], speed, -quality if higher else quality

    return sorted(records, key=key)


def _record(each: Measured, standing: Standing, place: Mapping[str, int], best: frozenset[str]) -> dict[str, Any]:
    found, level = each.variant, standing.levels[each.variant.id]
    difference = standing.differences.get(found.id)
    tokens_in, tokens_out = _mean(each.asked.tokens_in), _mean(each.asked.tokens_out)
    return {
        "id": found.id,
        "description": found.candidate.description,
        "group": place[found.id],
        "frontier": found.id in best,
        "quality": level["all"].as_dict(),
        "slices": {name: interval.as_dict() for name, interval in level.items() if name != "all"},
        "difference": difference.as_dict() if difference else None,
        "latency": each.speed.as_dict(),
        "latency_reason": each.speed.reason,
        "memory_bytes": each.speed.memory,
        "memory_of": "the process that serves only this candidate" if each.speed.memory is not None else "",
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": _cost(found.model, tokens_in, tokens_out),
        "model_calls": each.asked.model_calls,
        "cached_calls": each.asked.cached_calls,
        **_made(found),
        **_said(found),
    }


def _made(found: Variant) -> dict[str, Any]:
    """What tuning cost: nothing for what was not tuned, None for what is not known."""
    if found.made is not None:
        return {"method": found.made.method, "build_seconds": found.made.seconds, "adapter_bytes": found.made.bytes}
    if found.adapter is not None:
        provenance = found.adapter.manifest.provenance
        training = provenance.get("training")
        # The training of a parent took its time as well, which this manifest does not say.
        parent = f", going on from {provenance['parent']}" if provenance.get("parent") else ""
        seconds = training.get("seconds") if isinstance(training, dict) else None
        known = float(seconds) if isinstance(seconds, int | float) else None
        size = (found.adapter.folder / WEIGHTS).stat().st_size
        return {"method": f"adapter {found.adapter.key}{parent}", "build_seconds": known, "adapter_bytes": size}
    if found.step.adapter:
        return {"method": f"adapter {found.step.adapter} of the endpoint", "build_seconds": None, "adapter_bytes": None}
    return {"method": "not tuned", "build_seconds": 0.0, "adapter_bytes": 0}


def _said(found: Variant) -> dict[str, Any]:
    """What the files say of the model."""
    model = found.model
    return {
        "model": found.made.base if found.made else model.name,
        "endpoint": not model.pinned,
        "adapter": found.step.adapter or "",
        "prompt": ", ".join(found.step.prompts),
        "output": found.step.output.kind,
        "licence": model.licence,
        "parameters": model.parameters,
        "base_bytes": model.size_bytes,
        "context": model.context,
        "benchmarks": [each.model_dump(mode="json") for each in model.benchmarks],
        "training_data": list(model.training_data),
        "limits": list(model.limits),
        "digest": found.files.digest,
    }


def _cost(model: Model, tokens_in: float | None, tokens_out: float | None) -> dict[str, Any] | None:
    """The price of the step for 1,000 cases; None where the model's file gives no prices."""
    if model.price is None or tokens_in is None or tokens_out is None:
        return None
    price = model.price
    amount = (tokens_in * price.input_per_million + tokens_out * price.output_per_million) / 1000
    return {"per_1000_cases": amount, "currency": price.currency}


def _mean(numbers: Sequence[int]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def one_of_each(models: Sequence[Model], meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether a process for each of ``models`` fits into memory at the same time, as far as files and system say."""
    local = [model for model in models if model.pinned]
    need = sum((model.parameters or 0) * _WIDTH[model.dtype] + _PROCESS for model in local)
    try:
        lines = meminfo.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration, IndexError):
        return True
    return need <= _SHARE * free
