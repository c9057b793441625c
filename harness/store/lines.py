"""JSON lines that grow while a run goes on, and are read back after a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from harness.errors import SignoffError
from harness.store.files import room_for

MOVE_RUN = "delete old folders in reports/"
_BATCH_BYTES = 1 << 16


class JsonLines:
    """Appends encoded lines in whole batches; a batch that does not fit on the disk leaves nothing half behind.

    Opening a file that a kill left with a torn last line cuts that line off first. One writer at a time.
    Every method raises UsageError when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        self._waiting: list[bytes] = []
        self._bytes = 0

    def write(self, line: bytes) -> None:
        """Append one line, its line end included; ValueError when it is not exactly one."""
        if line.find(b"\n") != len(line) - 1 or not line:
            message = f"{self.path}: a line ends with its one line end, this does not: {line[:80]!r}"
            raise ValueError(message)
        self._waiting.append(line)
        self._bytes += len(line)
        if self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand every waiting line to the operating system."""
        batch = b"".join(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        if not batch:
            return
        end = os.fstat(self._handle).st_size
        with room_for(self.path, MOVE_RUN):
            try:
                _write_all(self._handle, batch)
            except OSError:
                os.ftruncate(self._handle, end)
                raise

    def __enter__(self) -> Self:
        with room_for(self.path, MOVE_RUN):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            os.ftruncate(self._handle, _whole_bytes(self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            os.close(self._handle)
            self._handle = -1


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _whole_bytes(handle: int) -> int:
    """The size up to and with the last line end."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _BATCH_BYTES)
        if (found := os.pread(handle, end - start, start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def read_lines(path: Path, *, resume: bool = False) -> Iterator[Any]:
    """The values of a JSON-lines file.

    A last line without its line end was torn by a kill: with ``resume`` it is dropped, otherwise, like any line
    that is no JSON, it raises SignoffError naming file and line.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                if resume:
                    return
                message = f"{path}:{number}: the line is torn, its writer was stopped; resume the run or start another"
                raise SignoffError(message)
            try:
                yield orjson.loads(line)
            except ValueError as error:
                message = f"{path}:{number}: not a JSON line ({error}); delete the run folder and run again"
                raise SignoffError(message) from error
