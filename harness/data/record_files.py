"""Files as records: lines of text, JSON lines, one JSON document, tables; read one record at a time, written whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from harness.errors import Problem, UsageError

Kind = Literal["text", "jsonl", "json", "csv"]
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv"}
# A text is read in pieces of whole paragraphs, so that a name and the greeting before it stay together.
_PIECE, _MOST = 32_000, 64_000
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its value (for a table a field -> cell), the line it begins at, and the text it was read from."""

    value: Any
    line: int
    source: str


def kind_of(path: Path) -> Kind:
    """What the file's name says that it holds; text if it says nothing."""
    return _KINDS.get(path.suffix.lower(), "text")


def refuse(path: Path, line: int | None, message: str) -> NoReturn:
    """Raise UsageError for what stands in a line of a file."""
    raise UsageError.of([Problem(str(path), line, message)])


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading; UsageError if it cannot be read."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; name a file") from error
    with stream:
        yield stream


def paragraphs(path: Path, stream: BinaryIO) -> Iterator[Record]:
    """Pieces of a text, cut at blank lines, or at any line's end where a paragraph is long."""
    lines: list[str] = []
    size, begun = 0, 1
    for number, line in _lines(path, stream):
        lines.append(line)
        size += len(line)
        if size > _MOST or (size > _PIECE and not line.strip()):
            text = "".join(lines)
            yield Record(text, begun, text)
            lines, size, begun = [], 0, number + 1
    if lines:
        text = "".join(lines)
        yield Record(text, begun, text)


def json_lines(path: Path, stream: BinaryIO) -> Iterator[Record]:
    """One value a line; blank lines are records of None."""
    for number, line in _lines(path, stream):
        value = parsed(path, line.removeprefix("\ufeff"), number) if line.strip("\ufeff \t\r\n") else None
        yield Record(value, number, line)


def document(path: Path, stream: BinaryIO) -> Record:
    """The one value of a JSON file."""
    text = "".join(line for _, line in _lines(path, stream))
    return Record(parsed(path, text.removeprefix("\ufeff"), 1), 1, text)


def parsed(path: Path, text: str, line: int) -> Any:
    """JSON; UsageError with the line of the mistake."""
    try:
        return json.loads(text, parse_constant=lambda name: refuse(path, line, f"{name} is no JSON number"))
    except json.JSONDecodeError as error:
        refuse(path, line + error.lineno - 1, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        refuse(path, line, "nested too deeply")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its header, how its cells are parted and its lines end, and its rows to come."""

    header: list[str]
    delimiter: str
    line_end: str
    rows: Iterator[Record]


def table(path: Path, stream: BinaryIO) -> Table:
    """A table whose first row names the columns; the cells are parted by what parts them most."""
    numbered = _lines(path, stream)
    first = next(numbered, (1, ""))[1]
    delimiter = max(_DELIMITERS, key=first.count)
    csv.field_size_limit(2**24)
    rest = (line for source in ([(1, first)], numbered) for _, line in source)
    rows = _rows(path, csv.reader(rest, delimiter=delimiter, strict=True))
    header = next(rows, Record([], 1, "")).value
    return Table(header, delimiter, "\r\n" if first.endswith("\r\n") else "\n", _cells(path, header, rows))


def _rows(path: Path, reader: Any) -> Iterator[Record]:
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            refuse(path, line, f"not a row of the table: {error}")
        yield Record(row, line, "")


def _cells(path: Path, header: list[str], rows: Iterator[Record]) -> Iterator[Record]:
    for row in rows:
        if row.value and len(row.value) != len(header):
            refuse(path, row.line, f"{len(row.value)} cells, the header has {len(header)} columns")
        yield row


def _lines(path: Path, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(stream, start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            refuse(path, number, f"not UTF-8: byte {line[error.start]:#04x} at column {error.start + 1}")
