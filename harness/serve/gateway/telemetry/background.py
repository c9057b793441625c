"""Work that must not delay requests: one thread, a bounded queue, and a count of what did not fit."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from harness.serve.gateway.telemetry.sparing import SparingLog

_T = TypeVar("_T")
_R = TypeVar("_R")
_BATCH = 64
# Without it the thread would wake for every single item, and fight the event loop for the interpreter each time.
_LINGER_S = 0.02


class Background(Generic[_T]):
    """Hands items in batches to ``handle`` in a thread of its own.

    At most ``items`` of together ``weight`` (whatever unit ``put`` uses) wait; what comes on top is dropped and
    counted. ``tend`` runs at the start, after every batch and when the seconds it returned are over; ``finish`` runs
    last. None of them may raise; if one does, it is logged and the items of that batch count as dropped.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[_T]], None],
        *,
        items: int,
        weight: int,
        tend: Callable[[], float] = lambda: 3600.0,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._handle, self._tend, self._finish = handle, tend, finish
        self._most_items, self._most_weight = items, weight
        self._queue: queue.SimpleQueue[tuple[_T, int] | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._items = self._weight = self._items_done = self._weight_done = 0
        self._dropped = self._failed = 0
        self._closed, self._hurry = threading.Event(), threading.Event()
        self._log = SparingLog(logging.getLogger("signoff.telemetry"))
        self._name = name
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Items that were never handled."""
        return self._dropped + self._failed

    def put(self, item: _T, weight: int = 0) -> bool:
        """Queue ``item`` without waiting; False when there was no room or it was closed."""
        with self._lock:
            full = self._items - self._items_done >= self._most_items
            heavy = self._weight - self._weight_done + weight > self._most_weight
            if full or heavy or self._closed.is_set():
                self._dropped += 1
                return False
            self._items += 1
            self._weight += weight
            self._queue.put((item, weight))
            return True

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything queued so far is handled; False when that takes longer."""
        done = threading.Event()
        self._queue.put(done)
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Take nothing more, handle what waits and stop; what is left after ``timeout_s`` is dropped and counted."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._hurry.set()
            self._thread.join(1.0)

    def _run(self) -> None:
        due, going = 0.0, True
        while going:
            if time.monotonic() >= due:
                due = time.monotonic() + self._guarded(self._tend, 60.0)
            batch, marks, going = self._next(max(0.0, due - time.monotonic()))
            if batch:
                self._work(batch)
                due = 0.0
            for mark in marks:
                mark.set()
        self._guarded(self._finish, None)

    def _next(self, wait_s: float) -> tuple[list[tuple[_T, int]], list[threading.Event], bool]:
        """The next batch, those who wait for it, and whether there is more to come."""
        batch: list[tuple[_T, int]] = []
        marks: list[threading.Event] = []
        try:
            found = self._queue.get(timeout=wait_s)
            if self._queue.qsize() < _BATCH:
                self._closed.wait(_LINGER_S)
            while True:
                if found is None:
                    return batch, marks, False
                if isinstance(found, threading.Event):
                    marks.append(found)
                else:
                    batch.append(found)
                if len(batch) >= _BATCH:
                    break
                found = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, marks, True

    def _work(self, batch: list[tuple[_T, int]]) -> None:
        if self._hurry.is_set():
            self._failed += len(batch)
        else:
            self._guarded(lambda: self._handle([item for item, _ in batch]), None, len(batch))
        self._items_done += len(batch)
        self._weight_done += sum(weight for _, weight in batch)

    def _guarded(self, work: Callable[[], _R], otherwise: _R, items: int = 0) -> _R:
        try:
            return work()
        except Exception as problem:  # the thread must outlive a fault, or nothing would be kept ever after
            self._failed += items
            self._log.warn("%s: %s: %s", self._name, type(problem).__name__, problem)
            return otherwise
