"""How often the paired latency gate is right, on machines that drift, stutter and have heavy tails."""

from __future__ import annotations

import re

import pytest

from harness.gate import AppArms, decide
from harness.spec.load import LoadProfile
from tests.load.worlds import GATE, World, outcomes

PROFILE = LoadProfile(blocks=30, block_requests=4, warmup=0)
RUNS = 150
WORLDS = {
    "quiet": World(),
    "drifting": World(drift=1.0),
    "all of it": World(drift=0.5, wander=0.03, bursts=0.05, noise=0.2),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_same_app_seldom_fails_against_itself(name: str) -> None:
    """At most 2 % of runs fail in which nothing differs: more than 8 of 150 would be a chance of 1 in 250."""
    found = outcomes(WORLDS[name], PROFILE, RUNS)
    assert found["fail"] <= 8
    assert found["pass"] > 0.5 * RUNS


@pytest.mark.parametrize("name", WORLDS)
def test_a_third_slower_never_passes_and_is_mostly_found(name: str) -> None:
    """An app that takes 30 % longer is failed in most runs, and passes in at most 5 %."""
    world = WORLDS[name]
    slower = World(**{**{key: getattr(world, key) for key in world.__dataclass_fields__}, "slower": 0.2624})
    found = outcomes(slower, PROFILE, 80)
    assert found["pass"] <= 9
    assert found["fail"] > 0.5 * 80


def test_few_blocks_decide_nothing() -> None:
    """With fewer than ten pairs a standard error rests on too little, and the gate stays open."""
    few = LoadProfile(blocks=6, block_requests=10, warmup=0)
    assert outcomes(World(), few, 60)["inconclusive"] >= 47
    slower = outcomes(World(slower=0.2624), few, 60)
    assert slower["pass"] == 0


def test_noise_leaves_the_gate_open() -> None:
    """Where the noise is larger than what is to be seen, an unchanged app is neither passed nor failed."""
    found = outcomes(World(block=0.6, noise=0.6), PROFILE, 60)
    assert found["inconclusive"] > 0.5 * 60
    assert found["fail"] <= 5


def test_advice_is_about_blocks() -> None:
    """What settles an undecided latency gate is more pairs of blocks, not more cases."""
    arms = {"desk": AppArms("c", "b")}
    rows = World(block=0.4).rows(LoadProfile(blocks=12, block_requests=4, warmup=0), 3)
    verdict = decide(rows, {"desk": [GATE]}, profile="pr", apps=arms)
    assert verdict.gates[0].verdict == "inconclusive"
    assert re.search(r"raise blocks by \d+ in suites/desk/load\.yaml", verdict.next_action)
