"""How often the paired latency gate is right on machines that drift, stutter and have heavy tails, as a Markdown table.

    python benchmarks/load_simulation.py --runs 1000

Each run draws log latencies for a whole schedule (``tests/load/worlds.py`` says how), makes rows of them and lets the
gate decide. The same app against itself must seldom fail; one that takes 30 % longer must be found.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.spec.load import LoadProfile
from tests.load.worlds import World, outcomes

WORLDS = {
    "quiet": World(),
    "drift of 170 %": World(drift=1.0),
    "wandering": World(wander=0.05),
    "bursts in 10 % of blocks": World(bursts=0.1),
    "loud": World(block=0.2, noise=0.3),
    "all of it": World(drift=0.5, wander=0.03, bursts=0.05, noise=0.2),
}
SHAPES = ("6x20", "12x8", "30x3")
CHANGES = {"the same": 0.0, "10 % slower": 0.0953, "30 % slower": 0.2624, "30 % faster": -0.3567}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="PxR", help="pairs of blocks x requests a block")
    args = parser.parse_args()
    print("| pairs x requests | machine | candidate | pass | fail | open |\n|---|---|---|---|---|---|")
    for blocks, size in [tuple(map(int, shape.split("x"))) for shape in args.shapes]:
        profile = LoadProfile(blocks=blocks, block_requests=size, warmup=0)
        for name, world in WORLDS.items():
            for change, slower in CHANGES.items():
                found = outcomes(replace(world, slower=slower), profile, args.runs)
                shares = [f"{100 * found[kind] / args.runs:.1f} %" for kind in ("pass", "fail", "inconclusive")]
                print(f"| {blocks} x {size} | {name} | {change} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
