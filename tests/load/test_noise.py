"""The look at the machine: the kernel's counts, and an arm against itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.load import Control, MachineWatch
from harness.load.noise import Clocks


def proc(folder: Path, *, user: int, idle: int, steal: int, ours: int) -> Path:
    """A folder like /proc with the counts of the machine and of process 7."""
    (folder / "7").mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3\n")
    (folder / "7" / "stat").write_text(f"7 (a (b) c) S {' '.join(['1'] * 10)} {ours} 0 9 9\n")
    (folder / str(os.getpid())).mkdir(exist_ok=True)
    (folder / str(os.getpid()) / "stat").write_text(f"1 (x) S {' '.join(['1'] * 10)} 0 0\n")
    return folder


def test_shares_are_what_happened_between_looks(tmp_path: Path) -> None:
    """Of 1000 ticks 100 were stolen; of 500 that programs used, 300 were ours."""
    watch = MachineWatch(proc=proc(tmp_path, user=1000, idle=5000, steal=50, ours=400))
    watch.look(7)
    proc(tmp_path, user=1500, idle=5400, steal=150, ours=700)
    watch.look(7)
    stolen, busy = watch.shares()
    assert stolen == pytest.approx(0.1)
    assert busy == pytest.approx(0.2)


def test_without_counts_nothing_is_claimed(tmp_path: Path) -> None:
    """Where the system has no such files, or one look was all, the shares are unknown."""
    watch = MachineWatch(proc=tmp_path)
    watch.look(7)
    assert watch.shares() == (None, None)
    assert MachineWatch().shares() == (None, None)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's /proc")
def test_a_busy_process_of_ours_counts_as_ours() -> None:
    """The real counts grow with what a process does."""
    code = "s = 0\nwhile True:\n    s += 1\n"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        first = Clocks.read([child.pid])
        try:
            child.wait(0.5)
        except subprocess.TimeoutExpired:
            second = Clocks.read([child.pid])
        child.kill()
    assert first is not None and second is not None
    assert second.ours > first.ours
    assert second.total > first.total


def test_the_control_seldom_cries_wolf() -> None:
    """Without drift a control is sure of a movement in at most 2 % of runs; with 50 % it usually is."""
    draw = np.random.default_rng(5)
    quiet = [Control.of(list(draw.normal(0, 0.2, 30))) for _ in range(2000)]
    assert np.mean([found is not None and found.sure > 0 for found in quiet]) <= 0.03
    moved = [Control.of([*draw.normal(0, 0.2, 15), *draw.normal(np.log(1.5), 0.2, 15)]) for _ in range(200)]
    assert np.mean([found is not None and found.sure > 0 for found in moved]) > 0.9


def test_too_few_blocks_control_nothing() -> None:
    """Below four blocks there is nothing to compare."""
    assert Control.of([1.0, 2.0, 3.0]) is None
