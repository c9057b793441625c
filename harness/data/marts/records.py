"""Files of rows, read so that a broken row is told from a good one and nothing is lost."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.errors import UsageError
from harness.spec.marts import MartSource

# A quote that is never closed would swallow the rest of the file.
_LONGEST_RECORD = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One row as text: ``values`` by column, or the ``reason`` why it is none. ``line`` counts from 1."""

    line: int
    raw: str
    values: Mapping[str, str | None]
    reason: str | None = None


def read_rows(path: Path, source: MartSource, shown: str) -> Iterator[Row]:
    """Every row of ``path``, good and broken. UsageError, naming ``shown``, if it is no file of its format at all."""
    reader = {"csv": _csv, "parquet": _parquet, "sqlite": _sqlite}.get(source.format, _json_lines)
    return reader(path, source, shown)


def _json_lines(path: Path, source: MartSource, shown: str) -> Iterator[Row]:  # noqa: ARG001 -- as every reader
    with path.open("rb") as stream:
        for line, content in enumerate(stream, start=1):
            if not content.strip():
                continue
            raw = content.decode("utf-8", "backslashreplace").rstrip("\r\n")
            try:
                value = orjson.loads(content)
            except orjson.JSONDecodeError:
                yield Row(line, raw, {}, "the line is not JSON")
                continue
            if not isinstance(value, dict):
                yield Row(line, raw, {}, "the line is not a JSON object")
                continue
            yield _checked(line, raw, value, source)


def _checked(line: int, raw: str, value: Mapping[str, Any], source: MartSource) -> Row:
    values = {name: as_text(value.get(name)) for name in source.types}
    absent = [name for name in source.columns if values[name] is None]
    return Row(line, raw, values, f"{absent[0]} is absent" if absent else None)


def as_text(value: Any) -> str | None:
    """A value as DuckDB reads it from text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool | int | float | list | dict):
        return orjson.dumps(value, default=str).decode()
    return str(value)


def _csv(path: Path, source: MartSource, shown: str) -> Iterator[Row]:
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    header, _ = _record(lines, 0, source.delimiter)
    if header is None:
        raise UsageError(f"{shown}: the first line is no header of a CSV file")
    _has_columns(header, source, shown)
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise UsageError(f"{shown}: the header names the column {twice[0]!r} twice; rename one of them")
    at = 1
    while at < len(lines):
        cells, taken = _record(lines, at, source.delimiter)
        raw = b"".join(lines[at : at + taken]).decode("utf-8", "backslashreplace").rstrip("\r\n")
        if not raw.strip():
            at += 1
            continue
        if cells is None or len(cells) != len(header):
            # Only this line: what follows a stray quote may be whole rows.
            raw = lines[at].decode("utf-8", "backslashreplace").rstrip("\r\n")
            yield Row(at + 1, raw, {}, _broken(lines, at, source.delimiter, len(header)))
            at += 1
            continue
        value = {name: cell or None for name, cell in zip(header, cells)}
        yield _checked(at + 1, raw, value, source)
        at += taken


def _record(lines: Sequence[bytes], at: int, delimiter: str) -> tuple[list[str] | None, int]:
    """The cells of the record that begins at ``lines[at]``, and its lines; None if it is none."""
    quotes = 0
    for end in range(at, min(at + _LONGEST_RECORD, len(lines))):
        quotes += lines[end].count(b'"')
        if quotes % 2 == 0:
            return _cells(b"".join(lines[at : end + 1]), delimiter), end + 1 - at
    return None, 1


def _cells(record: bytes, delimiter: str) -> list[str] | None:
    try:
        text = record.decode("utf-8").rstrip("\r\n")
        rows = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return rows[0] if len(rows) == 1 else None


def _broken(lines: Sequence[bytes], at: int, delimiter: str, wanted: int) -> str:
    try:
        lines[at].decode("utf-8")
    except UnicodeDecodeError:
        return "the line is not UTF-8"
    cells, _ = _record(lines, at, delimiter)
    return "a quote is not closed" if cells is None else f"{len(cells)} cells, the header has {wanted}"


def _has_columns(found: Sequence[str], source: MartSource, shown: str) -> None:
    if absent := [name for name in source.columns if name not in found]:
        message = f"{shown} has no column {', '.join(map(repr, absent))}; it has {', '.join(map(repr, found))}"
        raise UsageError(message)


def _parquet(path: Path, source: MartSource, shown: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _has_columns(file.schema_arrow.names, source, shown)
        line = 0
        for batch in file.iter_batches(columns=[n for n in source.types if n in file.schema_arrow.names]):
            for value in batch.to_pylist():
                line += 1
                yield _checked(line, _dumped(value), value, source)
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{shown} is not a whole Parquet file: {error}") from error


def _sqlite(path: Path, source: MartSource, shown: str) -> Iterator[Row]:
    # Read as a file that nobody writes: otherwise SQLite would leave files of its own beside it.
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        table = (source.table or "").split(".")[-1]
        found = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        if not found:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            raise UsageError(f"{shown} has no table {table!r}; it has {', '.join(map(repr, tables)) or 'none'}")
        _has_columns(found, source, shown)
        names = [name for name in source.types if name in found]
        columns = ", ".join(f'"{name}"' for name in names)
        for line, row in enumerate(connection.execute(f'SELECT {columns} FROM "{table}"'), start=1):  # noqa: S608
            value = dict(zip(names, row))
            yield _checked(line, _dumped(value), value, source)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{shown} is not a whole SQLite file: {error}") from error
    finally:
        connection.close()


def _dumped(value: Mapping[str, Any]) -> str:
    plain = {name: inner if isinstance(inner, int | float) else as_text(inner) for name, inner in value.items()}
    return orjson.dumps(plain, default=str).decode()
