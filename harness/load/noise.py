"""Whether the machine was quiet enough: time stolen by other machines, other programs, drift of the baseline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.spec.load import LoadProfile
from harness.stats.distributions import t_quantile

_SURE = 0.99
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the kernel has counted so far, in its ticks: of the whole machine, and of some processes of ours."""

    total: float
    idle: float
    stolen: float
    ours: float

    @classmethod
    def read(cls, pids: Sequence[int], proc: Path = _PROC) -> Clocks | None:
        """The counts now; None where the system has no such counts or a process is gone."""
        try:
            ticks = [float(text) for text in (proc / "stat").read_text().splitlines()[0].split()[1:9]]
            ours = sum(_ticks(proc / str(pid) / "stat") for pid in pids)
        except (OSError, ValueError, IndexError):
            return None
        return cls(sum(ticks), ticks[3] + ticks[4], ticks[7] if len(ticks) > 7 else 0.0, ours)


def _ticks(file: Path) -> float:
    # The name in the second field may hold blanks and parentheses: what follows the last one is safe to split.
    after = file.read_text().rpartition(")")[2].split()
    return float(after[11]) + float(after[12])


@dataclass
class MachineWatch:
    """Adds up what happened between the first and the last look; ``pids`` are ours besides the generator's."""

    pids: tuple[int, ...] = ()
    proc: Path = _PROC
    _first: Clocks | None = field(default=None, init=False)
    _last: Clocks | None = field(default=None, init=False)

    def look(self, generator: int) -> None:
        """Read the counts, while the process ``generator`` runs."""
        found = Clocks.read([os.getpid(), *self.pids, generator], self.proc)
        if found is not None:
            self._first, self._last = self._first or found, found

    def shares(self) -> tuple[float | None, float | None]:
        """Of the machine's time: the share that was stolen, and the share that other programs took; None: unknown."""
        if self._first is None or self._last is None or self._last.total <= self._first.total:
            return None, None
        total = self._last.total - self._first.total
        stolen = self._last.stolen - self._first.stolen
        busy = total - (self._last.idle - self._first.idle) - stolen
        ours = self._last.ours - self._first.ours
        return stolen / total, min(1.0, max(0.0, (busy - ours) / total))


@dataclass(frozen=True, slots=True)
class Control:
    """One arm against itself: how its log latency moved from the first half of its blocks to the second.

    ``sure`` is the part of ``moved`` that its 99 % bound leaves.
    """

    moved: float
    sure: float

    @classmethod
    def of(cls, blocks: Sequence[float]) -> Control | None:
        """From the mean log latency of each block in the order of time; None below four blocks."""
        half = len(blocks) // 2
        early, late = (np.asarray(part, dtype=float) for part in (blocks[:half], blocks[len(blocks) - half :]))
        if half < 2:
            return None
        moved = float(late.mean() - early.mean())
        se = float(np.sqrt(early.var(ddof=1) / half + late.var(ddof=1) / half))
        return cls(moved, max(0.0, abs(moved) - float(t_quantile(_SURE, 2 * half - 2)) * se))


@dataclass(frozen=True, slots=True)
class Noise:
    """What disturbed a run. Shares of the machine's time; the lag in seconds (95th percentile); None: unknown."""

    stolen: float | None = None
    busy: float | None = None
    lag_s: float | None = None
    control: Control | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def too_much(self, profile: LoadProfile) -> list[str]:
        """Why the run says nothing of the app, in words; empty when it was quiet."""
        found = []
        if self.lag_s is not None and self.lag_s > profile.max_lag_s:
            found.append(
                f"the generator sent late: 5 % of the requests by more than {self.lag_s:.2f} s "
                f"(allowed {profile.max_lag_s:g} s)"
            )
        if self.stolen is not None and self.stolen > profile.max_steal:
            found.append(
                f"the machine was busy: other virtual machines took {100 * self.stolen:.0f} % of its time "
                f"(allowed {100 * profile.max_steal:g} %)"
            )
        if self.busy is not None and self.busy > profile.max_busy:
            found.append(
                f"the machine was busy: other programs took {100 * self.busy:.0f} % of its time "
                f"(allowed {100 * profile.max_busy:g} %)"
            )
        if self.control is not None and self.control.sure > 0 and abs(self.control.moved) > profile.max_drift:
            factor = float(np.exp(self.control.moved))
            found.append(
                f"the machine changed during the run: the same app took {factor:.2f} times as long in the second half"
            )
        return found
