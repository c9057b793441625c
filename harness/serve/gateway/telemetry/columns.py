"""Closed files of the log of requests as Parquet: smaller, typed, and quick to filter by time."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import UsageError
from harness.serve.gateway.telemetry.trace_row import COMMON, FIELDS, REQUEST, SCHEMA_VERSION, STEP_FIELDS, FieldType

if TYPE_CHECKING:
    import pyarrow

MORE = "more"
"""The column that holds, as JSON, what is in a row and has no column."""

_SLICE_BYTES = 2 * 2**20
# Rows that this version wrote need no second look; orjson keeps the order in which the row was built.
_OWN = orjson.dumps({"schema_version": SCHEMA_VERSION, "kind": REQUEST})[:-1] + b","


def parquet_possible() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def to_parquet(lines: Path) -> Path:
    """Write the rows of ``lines`` (not empty) beside it as Parquet, then delete ``lines``.

    The Parquet appears when it is complete; a torn last line is left out. ValueError (pyarrow's errors are such) or
    OSError when that is impossible; ``lines`` stays as it is.
    """
    target = lines.with_suffix(".parquet")
    draft = target.with_name(f".{target.name}.tmp")
    before = lines.stat()
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as sink:
            _write(lines, sink)
            sink.flush()
            os.fsync(sink.fileno())
        # How long a row is kept is counted from the last row, not from the conversion.
        os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
        draft.rename(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    lines.unlink()
    return target


def read_parquet(path: Path, since: str | None, until: str | None) -> Iterator[dict[str, Any]]:
    """The rows of ``path`` as they were written, from ``since`` to before ``until`` (texts as in ``received``)."""
    if not parquet_possible():
        raise UsageError(f"{path} can be read with pyarrow only; install signoff[serve]")
    import pyarrow.dataset

    wanted, received = None, pyarrow.dataset.field("received")
    for bound in (None if since is None else received >= since, None if until is None else received < until):
        if bound is not None:
            wanted = bound if wanted is None else wanted & bound
    rows = pyarrow.dataset.dataset(path, format="parquet").to_batches(
        filter=wanted, batch_size=256, batch_readahead=1, fragment_readahead=1, use_threads=False
    )
    for batch in rows:
        yield from map(_unfolded, batch.to_pylist())


def _write(lines: Path, sink: Any) -> None:
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    schema = pa.schema([*((name, _type(kind)) for name, kind in FIELDS.items()), (MORE, pa.string())])
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    with pyarrow.parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in _slices(lines):
            # pyarrow's own reader, because rows made of Python objects would hold up the event loop for seconds.
            options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(part) + 1)
            found = pyarrow.json.read_json(pa.BufferReader(part), options, parse)
            writer.write_table(found.select(schema.names))


def _slices(lines: Path) -> Iterator[bytes]:
    """The whole lines of the file, some megabytes at a time, every row in the shape of the columns."""
    with lines.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, end = 0, content.rfind(b"\n") + 1
        while start < end:
            stop = content.rfind(b"\n", start, start + _SLICE_BYTES) + 1
            # One line may be longer than a slice.
            stop = stop or content.find(b"\n", start) + 1
            yield b"".join(map(_folded, content[start:stop].splitlines(keepends=True)))
            start = stop


def _folded(line: bytes) -> bytes:
    if line.startswith(_OWN):
        return line
    row = orjson.loads(line)
    columns = FIELDS if row.get("kind") == REQUEST else COMMON
    more = {name: value for name, value in row.items() if name not in columns}
    kept = {name: value for name, value in row.items() if name in columns}
    return orjson.dumps({**kept, MORE: orjson.dumps(more).decode()} if more else kept) + b"\n"


def _unfolded(row: Mapping[str, Any]) -> dict[str, Any]:
    columns = FIELDS if row["kind"] == REQUEST else COMMON
    more = orjson.loads(row[MORE]) if row[MORE] else {}
    return {**{name: row[name] for name in columns}, **more}


def _type(kind: FieldType) -> pyarrow.DataType:
    import pyarrow as pa

    if kind == "steps":
        return pa.list_(pa.struct([(name, _type(each)) for name, each in STEP_FIELDS.items()]))
    return {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}[kind]
