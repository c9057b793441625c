"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self


class Progress:
    """Counts finished outputs. Lines come every tenth of the way, at most one in five seconds."""

    def __init__(self, label: str, total: int, *, quiet: bool = False) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.failed = 0
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 0.1
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total)
        return self

    def advance(self, *, failed: bool) -> None:
        """One more output is there."""
        self.done += 1
        self.failed += failed
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
        elif not self._quiet and self._due():
            print(f"{self.label}: {self.done}/{self.total} ({self.failed} errors)", file=sys.stderr, flush=True)

    def _due(self) -> bool:
        share, now = self.done / max(self.total, 1), time.monotonic()
        if self.done < self.total and (share < self._next_line or now - self._last < 5):
            return False
        self._next_line, self._last = share + 0.1, now
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
