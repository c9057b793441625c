"""The log of requests that monitoring reads: anonymised rows in rotated files, written off the event loop."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.errors import SignoffError, UsageError
from harness.serve.gateway.telemetry.background import Background
from harness.serve.gateway.telemetry.columns import parquet_possible, to_parquet
from harness.serve.gateway.telemetry.pseudonym import Pseudonyms
from harness.serve.gateway.telemetry.segments import Segment, expire, orphans
from harness.serve.gateway.telemetry.sparing import SparingLog
from harness.serve.gateway.telemetry.texts import Anonymise, Texts
from harness.serve.gateway.telemetry.trace_row import note_row, request_row
from harness.serve.gateway.turn import Turn
from harness.spec.serving import Traces

MAX_WAITING = 4096
MAX_WAITING_CHARACTERS = 64 * 2**20
_TIDY_EVERY_S = 3600.0
_DEFAULTS = Traces()


@dataclass(frozen=True, slots=True)
class _Note:
    kind: str
    row: Mapping[str, Any]
    received: float


class TraceLog:
    """Appends a row for every request to files in ``folder``, which may be shared with other processes.

    One thread does all the work. What it cannot keep up with is ``dropped``, what the disk refuses is ``lost``; both
    are counted and neither delays a request. Texts pass ``anonymise`` before they touch the disk; without it, or with
    ``settings.texts`` off, there are none. UsageError when ``folder`` cannot be made.
    """

    def __init__(self, folder: Path, anonymise: Anonymise | None, settings: Traces = _DEFAULTS) -> None:
        self.folder, self._settings = folder, settings
        self.lost = 0
        self._texts = Texts(anonymise if settings.texts else None)
        self._segment: Segment | None = None
        self._log = SparingLog(logging.getLogger("signoff.telemetry"))
        self._tidied = float("-inf")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._users = Pseudonyms(folder)
        except OSError as problem:
            raise UsageError(
                f"the traces cannot be kept in {folder}: {problem.strerror}; name another folder"
            ) from None
        self._background: Background[Turn | _Note] = Background(
            "signoff-traces",
            self._keep,
            items=MAX_WAITING,
            weight=MAX_WAITING_CHARACTERS,
            tend=self._tend,
            finish=self._finish,
        )

    @property
    def dropped(self) -> int:
        """Rows that there was no time for."""
        return self._background.dropped

    @property
    def unanonymised(self) -> int:
        """Texts that were left out because they could not be anonymised."""
        return self._texts.failed

    def observe(self, turn: Turn) -> None:
        """Keep the row of a finished request."""
        try:
            self._background.put(turn, len(turn.input) + len(turn.output) + sum(map(_size, turn.steps.values())))
        except Exception as problem:  # an observer must not disturb the request
            self._lose(1, type(problem).__name__)

    def note(self, kind: str, row: Mapping[str, Any]) -> None:
        """Keep something else, as feedback on an answer: ``user`` is replaced, every text but ids is anonymised.

        ``received`` in ``row`` (seconds since 1970) is when it came; now, if it is not there. Unlike ``observe`` this
        raises SignoffError when there is no room, because whoever sent it can send it again.
        """
        note = _Note(kind, dict(row), float(row.get("received") or time.time()))
        if not self._background.put(note, sum(len(str(value)) for value in row.values())):
            raise SignoffError("the log of requests cannot keep up: too much waits to be written")

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until every row so far is in its file; False when that takes longer."""
        return self._background.flush(timeout_s)

    def close(self, timeout_s: float = 20.0) -> None:
        """Write what waits and close the file; rows that are left after ``timeout_s`` count as dropped."""
        self._background.close(timeout_s)

    def _keep(self, found: Sequence[Turn | _Note]) -> None:
        lines = [line for each in found if (line := self._line(each))]
        try:
            self._append(b"".join(lines))
        except OSError as problem:
            self._lose(len(lines), _reason(problem))

    def _lose(self, rows: int, why: str) -> None:
        self.lost += rows
        self._log.warn("rows of the trace log are lost, %d so far: %s", self.lost, why)

    def _line(self, found: Turn | _Note) -> bytes:
        try:
            if isinstance(found, _Note):
                row = note_row(found.kind, found.row, self._texts, self._users, found.received)
            else:
                row = request_row(found, self._texts, self._users)
            return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except Exception as problem:  # one odd row must not take the others of its batch with it
            self._lose(1, type(problem).__name__)
            return b""

    def _append(self, lines: bytes) -> None:
        if self._segment is not None and (self._segment.lost or self._segment.torn):
            self._segment.close()
            self._segment = None
        if self._segment is None:
            self._segment = Segment.create(self.folder)
        self._segment.append(lines)

    def _tend(self) -> float:
        """Close the file when it is full or old, tidy up once in an hour; seconds until there is more to do."""
        now, settings = time.monotonic(), self._settings
        if self._segment is not None:
            full = self._segment.bytes >= settings.megabytes * 2**20
            if full or now - self._segment.opened >= settings.hours * 3600:
                self._rotate()
        if now - self._tidied >= _TIDY_EVERY_S:
            self._tidied = now
            self._tidy()
        ends = self._tidied + _TIDY_EVERY_S
        if self._segment is not None:
            ends = min(ends, self._segment.opened + settings.hours * 3600)
        return max(0.01, ends - time.monotonic())

    def _tidy(self) -> None:
        """Finish files that a stopped process left, and remove old ones."""
        for segment in orphans(self.folder):
            self._convert(segment)
        expire(self.folder, self._settings.days)

    def _rotate(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self._convert(segment)

    _finish = _rotate

    def _convert(self, segment: Segment) -> None:
        """Turn a file into Parquet while its lock is held, and let it go."""
        try:
            if segment.bytes == 0:
                segment.path.unlink(missing_ok=True)
            elif parquet_possible():
                to_parquet(segment.path)
        except (OSError, ValueError) as problem:  # pyarrow's errors are ValueErrors
            self._log.warn("%s stays as it is: %s", segment.path, problem)
        finally:
            segment.close()


def _size(step: Mapping[str, Any]) -> int:
    """About how much room a step's output takes while it waits; structures count as nothing, they are small."""
    output = step.get("output")
    return len(output) if isinstance(output, str) else 0


def _reason(problem: OSError) -> str:
    return "the disk is full" if problem.errno in (errno.ENOSPC, errno.EDQUOT) else str(problem.strerror or problem)
