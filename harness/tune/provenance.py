"""What a manifest says of where and how an adapter was built, and of what it was seen to answer."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from harness.spec.recipes import Recipe
from harness.stats import wilson

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
CONFIDENCE = 0.95


def environment(recipe: Recipe, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Seed, threads, device and library versions: within them a rebuild on one thread gives the same bytes."""
    from harness.serve.engine.hub import cpu_capability

    return {
        "seed": recipe.training.seed,
        "threads": figures["threads"],
        "processes": figures["processes"],
        "device": figures["device"],
        "cpu": cpu_capability(),
        "precision": recipe.training.precision,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def summary(results: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, Any]:
    """For each arm and measure: rows, share right, and its two-sided 95 % interval (Wilson 1927)."""
    return {arm: {name: _share(values) for name, values in scores.items()} for arm, scores in results.items()}


def _share(values: Sequence[int]) -> dict[str, Any]:
    low, high = wilson(sum(values), len(values), 1 - (1 - CONFIDENCE) / 2)
    return {"n": len(values), "share": sum(values) / len(values), "low": float(low), "high": float(high)}
