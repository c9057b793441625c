"""Reading the log of requests back, whatever state its writers left it in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from harness.errors import SignoffError
from harness.serve.gateway.telemetry.columns import read_parquet
from harness.serve.gateway.telemetry.segments import segment_paths
from harness.serve.gateway.telemetry.trace_row import timestamp

TORN, DAMAGED = "torn", "damaged"
_CLOCK_SLACK_S = 3600.0


def read_traces(
    folder: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    skipped: Counter[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows received from ``since`` to before ``until``, file by file, oldest file first; any kind.

    Servers may write meanwhile. ``skipped`` counts lines that are ``torn`` (the last of a file whose writer was
    stopped in mid-line, or is at it) or ``damaged``. UsageError for Parquet without pyarrow, SignoffError for Parquet
    that is damaged, ValueError for a time without a zone.
    """
    skipped = Counter() if skipped is None else skipped
    first, last = _bound(since), _bound(until)
    for path in segment_paths(folder):
        try:
            # Rows are written after they were received, but a clock may have been set back meanwhile.
            if since is not None and path.stat().st_mtime + _CLOCK_SLACK_S < since.timestamp():
                continue
        except FileNotFoundError:
            pass
        for row in _rows(path, first, last, skipped):
            if (first is None or row["received"] >= first) and (last is None or row["received"] < last):
                yield row


def _bound(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; give one, as in datetime.now(UTC)")
    return timestamp(moment.timestamp())


def _rows(path: Path, first: str | None, last: str | None, skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".jsonl":
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            # It was converted, or expired, since the folder was listed.
            path = path.with_suffix(".parquet")
        else:
            with stream:
                yield from _lines(stream, skipped)
            return
    try:
        yield from read_parquet(path, first, last)
    except FileNotFoundError:
        return
    except ValueError as problem:  # pyarrow's errors
        raise SignoffError(f"{path} is damaged: {problem}; move it away to read the others") from None


def _lines(stream: Iterator[bytes], skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    for line in stream:
        if not line.endswith(b"\n"):
            skipped[TORN] += 1
            return
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("received"), str):
            yield row
        else:
            skipped[DAMAGED] += 1
