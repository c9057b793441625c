"""How often the gate is right: simulated runs through the statistics that ``signoff gate`` uses, as Markdown tables.

    python benchmarks/gate_simulation.py --runs 2000

The population is bimodal: a case passes with its own probability, drawn from Beta(1.6, 0.28), mean 0.85. A drop of d
means that a share d / 0.85 of the cases breaks outright. Both variants are sampled anew, with three repeats a case.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.gate import ALPHA_FAIL
from harness.stats import Inference, Looks, StudentT, cluster_sums, holm, moments, paired_mean

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]
MARGIN = 0.05
CONFIDENCE = 0.95
CHUNK = 400


@dataclass(frozen=True, slots=True)
class World:
    """``cases`` a gate; pass probabilities from Beta(a, b); the drop of each gate (1 number a gate)."""

    cases: int = 200
    drops: tuple[float, ...] = (0.0,)
    a: float = 1.6
    b: float = 0.28
    repeats: int = 3

    @property
    def mean(self) -> float:
        """The mean pass rate of the baseline."""
        return self.a / (self.a + self.b)


@dataclass(slots=True)
class Shares:
    """Counts of runs by outcome, and the looks that all of them took."""

    passed: int = 0
    failed: int = 0
    runs: int = 0
    looks: int = 0

    def row(self) -> str:
        """The shares as cells of a Markdown table."""
        open_runs = self.runs - self.passed - self.failed
        cells = [f"{100 * count / self.runs:.1f} %" for count in (self.passed, self.failed, open_runs)]
        return " | ".join([*cells, f"{self.looks / self.runs:.2f}"])


def observed(world: World, runs: int, looks: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Differences (runs, gates, cases) at each look; every look adds ``world.repeats`` repeats to the last one."""
    shape = (runs, len(world.drops), world.cases)
    before = generator.beta(world.a, world.b, shape)
    broken = generator.random(shape) < np.asarray(world.drops)[:, None] / world.mean
    after = np.where(broken, 0.0, before)
    total = np.zeros(shape)
    for look in range(1, looks + 1):
        total += generator.binomial(world.repeats, after) - generator.binomial(world.repeats, before)
        yield total / (world.repeats * look)


def outcome(differences: Floats, confidence: float = CONFIDENCE, alpha: float = ALPHA_FAIL) -> tuple[Masks, Masks]:
    """Which runs pass and which fail, from differences (runs, gates, cases): the rules of the gate on arrays."""
    found = paired_mean(differences)
    cleared = found.low(confidence) > -MARGIN
    below = found.high(confidence) < 0
    broken = ~cleared & below & (holm(found.p_below(0.0)) <= alpha)
    return np.all(cleared, axis=-1, keepdims=True)[..., 0], np.any(broken, axis=-1, keepdims=True)[..., 0]


def play(world: World, runs: int, looks: Looks, generator: np.random.Generator) -> Shares:
    """Whole runs: the next look is taken by those that are still inconclusive."""
    shares = Shares(runs=runs)
    for start in range(0, runs, CHUNK):
        undecided = np.ones(min(CHUNK, runs - start), dtype=bool)
        for look, differences in enumerate(observed(world, undecided.size, looks.planned, generator), start=1):
            shares.looks += int(undecided.sum())
            confidence, alpha = looks.confidence(CONFIDENCE, look), looks.spent(ALPHA_FAIL, look)
            passed, failed = outcome(differences[undecided], confidence, alpha)
            shares.passed += int(passed.sum())
            shares.failed += int(failed.sum())
            undecided[undecided] = ~(passed | failed)
    return shares


def single_gate(runs: int, generator: np.random.Generator) -> Iterator[str]:
    """One gate, one look, by number of cases and size of the drop."""
    yield "| cases x repeats | drop | pass | fail | inconclusive | looks |"
    yield "|---|---|---|---|---|---|"
    for cases in (50, 200, 500):
        for drop in (0.0, 0.02, MARGIN, 2 * MARGIN):
            shares = play(World(cases, (drop,)), runs, Looks(), generator)
            yield f"| {cases} x 3 | {100 * drop:.0f} points | {shares.row()} |"


def twelve_gates(runs: int, generator: np.random.Generator) -> Iterator[str]:
    """Twelve independent gates of 200 cases with 3 repeats more at each look."""
    yield "| looks planned | what dropped | pass | fail | inconclusive | looks taken |"
    yield "|---|---|---|---|---|---|"
    scenes = {
        "nothing": (0.0,) * 12,
        "one gate by the margin": (MARGIN,) + (0.0,) * 11,
        "one gate by twice the margin": (2 * MARGIN,) + (0.0,) * 11,
        "three gates by twice the margin": (2 * MARGIN,) * 3 + (0.0,) * 9,
    }
    for planned in (1, 2, 3):
        for name, drops in scenes.items():
            shares = play(World(drops=drops), runs, Looks(planned), generator)
            yield f"| {planned} | {name} | {shares.row()} |"


def coverage(runs: int, generator: np.random.Generator) -> Iterator[str]:
    """How often the interval of one gate holds the truth."""
    yield "| population | cases | drop | above low | below high | inside the two-sided 95 % interval |"
    yield "|---|---|---|---|---|---|"
    populations = {"Beta(1.6, 0.28)": (1.6, 0.28), "healthy, Beta(9.8, 0.2)": (9.8, 0.2)}
    for name, (a, b) in populations.items():
        for cases in (100, 200, 500):
            for drop in (0.0, MARGIN, 2 * MARGIN):
                found = paired_mean(_pool(World(cases, (drop,), a, b), runs, generator))
                one_sided = [found.low(CONFIDENCE) <= -drop, found.high(CONFIDENCE) >= -drop]
                inside = (found.low(0.975) <= -drop) & (found.high(0.975) >= -drop)
                cells = " | ".join(f"{100 * float(hit.mean()):.1f} %" for hit in (*one_sided, inside))
                yield f"| {name} | {cases} | {100 * drop:.0f} points | {cells} |"


def few_changes(runs: int, generator: np.random.Generator) -> Iterator[str]:
    """A true drop equal to the margin in suites where few cases ever change: how often it passes (at most 5 %)."""
    yield "| suite | cases | plain t passes it | the gate passes it |"
    yield "|---|---|---|---|"
    for cases in (20, 30, 50, 100, 200):
        for name, world in {
            "deterministic": World(cases, (MARGIN,), 1e6, 1e-3, 1),
            "cases pass 98 %, 3 repeats": World(cases, (MARGIN,), 98, 2),
        }.items():
            differences = _pool(world, runs, generator)
            plain = StudentT(moments(cluster_sums(differences)), corrected=False)
            yield f"| {name} | {cases} | {_passes(plain)} | {_passes(paired_mean(differences))} |"


def _passes(found: Inference) -> str:
    return f"{100 * float((found.low(CONFIDENCE) > -MARGIN).mean()):.1f} %"


def _pool(world: World, runs: int, generator: np.random.Generator) -> Floats:
    """Differences (runs, cases) of one gate at one look."""
    return next(observed(world, runs, 1, generator))[:, 0, :]


TABLES: dict[str, Callable[[int, np.random.Generator], Iterator[str]]] = {
    "One gate, margin 5 points": single_gate,
    "A run of twelve gates": twelve_gates,
    "Coverage": coverage,
    "Suites where few cases change": few_changes,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs a row (default: 2000)")
    parser.add_argument("--seed", type=int, default=20261123)
    options = parser.parse_args(arguments)
    generator = np.random.default_rng(options.seed)
    for title, table in TABLES.items():
        began = time.perf_counter()
        print(f"## {title}\n\n" + "\n".join(table(options.runs, generator)))
        print(f"\n{options.runs} runs a row, {time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
