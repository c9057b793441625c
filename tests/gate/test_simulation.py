import importlib.util
from pathlib import Path

import numpy as np
import pytest

from harness.gate import decide
from harness.stats import Looks

from .builders import CHANGED, gate, rows

SOURCE = Path(__file__).parents[2] / "benchmarks" / "gate_simulation.py"


@pytest.fixture(scope="module")
def simulation():
    """The benchmark as a module."""
    import sys

    spec = importlib.util.spec_from_file_location("gate_simulation", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_simulated_rules_are_those_of_the_gate(simulation):
    """Runs of three gates judged on arrays and through decide() end alike."""
    generator = np.random.default_rng(1)
    ends = []
    for drops in ((0.0, 0.0, 0.0), (0.0, 0.1, 0.0), (0.2, 0.0, 0.0)) * 4:
        counts = [generator.binomial(3, generator.beta(1.6, 0.28, (3, 150))) for _ in range(2)]
        counts[0][np.asarray(drops)[:, None] * 1.2 > generator.random((3, 150))] = 0
        passed, failed = simulation.outcome(((counts[0] - counts[1]) / 3)[None])
        repeats = [[[[int(k > r) for r in range(3)] for k in one] for one in arm] for arm in counts]
        measured = [row for g in range(3) for row in rows(repeats[0][g], repeats[1][g], metric=f"m{g}")]
        gates = {"support": [gate(id=f"g{g}", metric=f"m{g}") for g in range(3)]}
        verdict = decide(measured, gates, profile="pr", apps=CHANGED).verdict
        ends.append((verdict, "fail" if failed[0] else "pass" if passed[0] else "inconclusive"))
    assert [theirs for theirs, _ in ends] == [ours for _, ours in ends]
    assert len(set(ends)) > 1


def test_one_gate_keeps_its_promises(simulation):
    """Unchanged passes at least 80 %, a drop of the margin about 5 %, twice the margin fails at least 90 %."""
    generator = np.random.default_rng(2)
    shares = [simulation.play(simulation.World(drops=(d,)), 1500, Looks(), generator) for d in (0.0, 0.05, 0.1)]
    assert shares[0].passed / 1500 >= 0.8
    assert shares[1].passed / 1500 <= 0.05 + 3 * 0.0056
    assert shares[2].failed / 1500 >= 0.9


def test_twelve_gates_rarely_fail_an_unchanged_candidate(simulation):
    """At most 2 % of unchanged runs fail, up to the error of the simulation."""
    shares = simulation.play(simulation.World(drops=(0.0,) * 12), 1200, Looks(), np.random.default_rng(3))
    assert shares.failed / 1200 <= 0.02 + 3 * 0.004


def test_two_looks_find_one_broken_gate_of_twelve(simulation):
    """With a second look twice the margin fails at least 90 % of runs, and most unchanged runs pass."""
    generator = np.random.default_rng(4)
    broken = simulation.play(simulation.World(drops=(0.1,) + (0.0,) * 11), 600, Looks(2), generator)
    unchanged = simulation.play(simulation.World(drops=(0.0,) * 12), 600, Looks(2), generator)
    assert broken.failed / 600 >= 0.9
    assert unchanged.passed / 600 >= 0.7


def test_the_tables_are_markdown(simulation, capsys):
    """The command prints each table under its heading."""
    simulation.main(["--runs", "4"])
    printed = capsys.readouterr().out
    assert printed.count("## ") == 4
    assert "| 3 | one gate by twice the margin |" in printed
