"""Small plans, and the generator run on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.load import Arm, Generated, Generator, LoadPlan, make_schedule
from harness.spec.load import LoadProfile
from harness.spec.measurement import Variant
from harness.spec.suites import Case
from tests.load.streaming import DIGEST

CASES = [Case(id=f"case-{number}", inputs={"message": f"message {number}"}, slices=("all",)) for number in range(40)]
BOTH: Sequence[Variant] = ("baseline", "candidate")


def profile(**changes: Any) -> LoadProfile:
    """A profile of a few quick requests."""
    return LoadProfile(**{"rate": 20, "blocks": 2, "block_requests": 3, "warmup": 0, "timeout_s": 10, **changes})


def plan(
    folder: Path, url: str, variants: Sequence[Variant] = ("candidate",), digest: str = DIGEST, **changes: Any
) -> LoadPlan:
    """A plan for the service at ``url``."""
    load = profile(**changes)
    schedule = make_schedule(load, CASES, variants)
    arms: dict[Variant, Arm] = {
        variant: Arm("desk" if variant == "candidate" else "desk@baseline", digest) for variant in variants
    }
    return LoadPlan("desk", url, arms, schedule, folder / "samples.jsonl", load.timeout_s, load.seed)


def generate(folder: Path, given: LoadPlan, **watching: Any) -> Generated:
    """Run Locust on a plan."""
    return Generator(given, folder, **watching).run()
