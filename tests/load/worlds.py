"""Latencies as a machine may give them: drawn, turned into rows, and decided by the gate that the product has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harness.gate import AppArms, decide
from harness.load import make_schedule
from harness.spec.gates import Gate
from harness.spec.load import LoadProfile
from harness.spec.measurement import Measurement, Variant
from harness.spec.suites import Case

GATE = Gate(
    id="speed",
    metric="load.log_e2e",
    rule="no_worse_than_baseline_by",
    threshold=0.2,
    better="lower",
    minimum=None,
    maximum=4.1,
)
CASES = [Case(id=f"c{number}") for number in range(200)]


@dataclass(frozen=True)
class World:
    """Log latencies: ``slower`` is the candidate's; the rest is the same for both arms.

    ``cases`` is how much cases differ; ``noise`` each request's own, drawn from Student's t with three degrees of
    freedom (heavy tails); ``block`` what all requests of a block share; ``drift`` the slope over the whole run;
    ``wander`` a random walk's step from block to block; ``bursts`` the share of blocks that something disturbs,
    by a factor between 1 and 4.
    """

    slower: float = 0.0
    cases: float = 0.4
    noise: float = 0.12
    block: float = 0.1
    drift: float = 0.0
    wander: float = 0.0
    bursts: float = 0.0

    def rows(self, profile: LoadProfile, seed: int) -> Iterator[Measurement]:
        """One run's rows of the latency metric."""
        draw = np.random.default_rng(seed)
        schedule = make_schedule(profile.model_copy(update={"seed": seed}), CASES, ("baseline", "candidate"))
        blocks = len(schedule.blocks)
        hard = draw.normal(0, self.cases, len(CASES))
        shared = draw.normal(0, self.block, blocks) + self.drift * np.linspace(0, 1, blocks)
        shared += np.cumsum(draw.normal(0, self.wander, blocks))
        shared += np.where(draw.random(blocks) < self.bursts, draw.uniform(0, np.log(4), blocks), 0.0)
        for block, shot in schedule.measured():
            value = hard[shot.question] + shared[block.number] + self.noise * draw.standard_t(3)
            yield _row(block.variant, shot.case, block.pair, value + self.slower * (block.variant == "candidate"))


def _row(variant: Variant, case: str, pair: int, value: float) -> Measurement:
    return Measurement("load", "desk", variant, case, "load", GATE.metric, value, unit="log s", group=f"pair-{pair}")


def outcomes(world: World, profile: LoadProfile, runs: int) -> Counter[str]:
    """How many of ``runs`` runs pass, fail, or stay open."""
    arms = {"desk": AppArms("c", "b")}
    return Counter(
        decide(world.rows(profile, seed), {"desk": [GATE]}, profile="pr", apps=arms).gates[0].verdict
        for seed in range(runs)
    )
