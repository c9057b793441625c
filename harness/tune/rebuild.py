"""Building an adapter a second time from the same inputs: the same bytes, or at least the same answers."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from harness.errors import UsageError
from harness.spec.adapters import AdapterVersion
from harness.stats import paired_mean
from harness.tune.build import Inputs, TuneRequest, built, finetune, inputs_of, job_of, run_child

# One-sided at either end: together an interval of 95 %.
_CONFIDENCE = 0.975


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The second build beside the first.

    ``differences`` maps each measure to (share right of the first, of the second, difference, low, high): rows of
    the test split, paired, two-sided 95 %. ``same_inputs`` is false when the tree has moved on since the first build.
    """

    first: AdapterVersion
    second: AdapterVersion
    same_bytes: bool
    seconds: float
    differences: dict[str, tuple[float, float, float, float, float]]
    moved: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing tells the two apart: the same bytes, or no difference whose interval leaves out zero."""
        return self.same_bytes or all(low <= 0 <= high for *_, low, high in self.differences.values())


def rebuild(request: TuneRequest) -> Rebuilt:
    """Build the version in ``request.out`` again, into the cache, and compare; the first build stays untouched.

    Raises UsageError when there is no first build.
    """
    first = built(request.out)
    if first is None:
        raise UsageError(
            f"{request.recipe.key} is not built; build it first with: signoff finetune {request.recipe.name}"
        )
    again = request.cache / "again" / request.recipe.key
    shutil.rmtree(again, ignore_errors=True)
    inputs = inputs_of(request.root, request.cache, request.recipe)
    tuned = finetune(replace(request, out=again), inputs)
    second = built(again)
    assert second is not None
    same = (first.manifest.weights_sha256, first.manifest.config_sha256) == (
        second.manifest.weights_sha256,
        second.manifest.config_sha256,
    )
    differences = {} if same else _compared(request, inputs, first, second)
    return Rebuilt(first, second, same, tuned.seconds, differences, tuple(inputs.differs_from(first.manifest)))


def _compared(request: TuneRequest, inputs: Inputs, first: AdapterVersion, second: AdapterVersion) -> dict[str, Any]:
    work = request.cache / "again" / f"{request.recipe.name}-compared"
    job, out = job_of(inputs, request, work), work / "compared.json"
    arms = [f"first={first.folder}", f"second={second.folder}"]
    command = [sys.executable, "-m", "harness.tune.results", str(job.file), str(out), *arms]
    run_child(job, command, os.environ, request.show)
    scores = orjson.loads(out.read_bytes())
    shutil.rmtree(Path(job.work), ignore_errors=True)
    return {name: _difference(scores["first"][name], scores["second"][name]) for name in scores["first"]}


def _difference(first: list[int], second: list[int]) -> tuple[float, float, float, float, float]:
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    found = paired_mean(two - one)
    low, high = float(found.low(_CONFIDENCE)), float(found.high(_CONFIDENCE))
    return float(one.mean()), float(two.mean()), float((two - one).mean()), low, high
