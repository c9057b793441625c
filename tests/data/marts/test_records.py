"""Files of rows: every good row is read, and every broken one is told apart with its line and its text."""

from __future__ import annotations

import csv
import io
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.marts.records import Row, read_rows
from harness.errors import UsageError
from harness.spec.marts import MartSource


def source(kind: str, **more: Any) -> MartSource:
    """A source with a required column ``a`` and an optional ``b``."""
    given_ = {"from": "path:x", "format": kind, "columns": {"a": "VARCHAR"}, "optional": {"b": "VARCHAR"}}
    return MartSource.model_validate({**given_, "licence": "CC0-1.0", **more})


def read(content: bytes, kind: str, **more: Any) -> list[Row]:
    """The rows of a file with this content."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        path.write_bytes(content)
        return list(read_rows(path, source(kind, **more), "the file"))


def told(rows: list[Row]) -> list[tuple[int, Any]]:
    """Line and reason of broken rows, line and values of good ones."""
    return [(row.line, row.reason or tuple(row.values.values())) for row in rows]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,b\n1,2\n", [(2, ("1", "2"))]),
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", [(2, ("1", "2"))]),
        (b"b,a,c\n1,2,3\n", [(2, ("2", "1"))]),
        (b"a\n1\n\n2\n", [(2, ("1", None)), (4, ("2", None))]),
        (b'a,b\n"x, y","he said ""no"""\n', [(2, ("x, y", 'he said "no"'))]),
        (b'a,b\n"two\nlines",2\n3,4\n', [(2, ("two\nlines", "2")), (4, ("3", "4"))]),
        (b"a,b\n1,2,3\n4,5\n6\n", [(2, "3 cells, the header has 2"), (3, ("4", "5")), (4, "1 cells, the header has 2")]),
        (b'a,b\n"1,2\n3,4\n5,6\n', [(2, "a quote is not closed"), (3, ("3", "4")), (4, ("5", "6"))]),
        (b'a,b\n1,"2\n3,4\n5,6"\n7,8\n', [(2, ("1", "2\n3,4\n5,6")), (5, ("7", "8"))]),
        (b'a,b\n"1\n3,4\n"5,6\n7,8\n', [(2, "a quote is not closed"), (3, ("3", "4")), (4, "a quote is not closed"),
                                        (5, ("7", "8"))]),
        (b"a,b\n\xff,2\n3,4\n", [(2, "the line is not UTF-8"), (3, ("3", "4"))]),
        (b"a,b\n,2\n", [(2, "a is absent")]),
        (b"a,b\n1,\n", [(2, ("1", None))]),
    ],
)  # fmt: skip
def test_csv(content: bytes, found: list[tuple[int, Any]]) -> None:
    """A broken line is one broken row, and the rows after it are read."""
    assert told(read(content, "csv")) == found


def test_csv_with_another_delimiter() -> None:
    """The delimiter is the source's."""
    assert told(read(b"a;b\n1,5;2\n", "csv", delimiter=";")) == [(2, ("1,5", "2"))]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no header"), (b"b,c\n1,2\n", "no column 'a'; it has 'b', 'c'"), (b"a,b,a\n1,2,3\n", "column 'a' twice")],
)
def test_csv_that_is_none(content: bytes, said: str) -> None:
    """A file without header, without a required column or with one twice is refused as a whole."""
    with pytest.raises(UsageError, match=said):
        read(content, "csv")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1)


@given(st.lists(st.tuples(CELL, CELL), max_size=8), st.integers(0, 8))
def test_csv_of_pythons_own_writer(rows: list[tuple[str, str]], at: int) -> None:
    """What Python writes is read back, and a line with too many cells among it costs no other row."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("a", "b"))
    for index, row in enumerate(rows):
        if index == at:
            writer.writerow(("1", "2", "3"))
        writer.writerow(row)
    found = read(out.getvalue().encode(), "csv")
    good = [tuple(row.values.values()) for row in found if row.reason is None]
    assert good == rows
    assert [row.reason for row in found if row.reason] == ["3 cells, the header has 2"] * (at < len(rows))


@given(st.binary(max_size=200))
def test_csv_of_any_bytes(content: bytes) -> None:
    """Whatever the bytes are, nothing crashes, and no line that says something is lost."""
    rows = read(b"a,b\n" + content, "csv")
    whole = content.decode("utf-8", "backslashreplace")
    assert all(row.raw.strip() in whole for row in rows)
    assert "".join("".join(row.raw.split()) for row in rows) == "".join(whole.split())


def test_json_lines() -> None:
    """Values are text as DuckDB reads it; lines that are no object and rows without a required value are broken."""
    content = b'{"a": "x", "b": null}\n{"a": 1.5, "b": [1, "y"]}\n\n{"a": \n[1]\n{"b": "z"}\n{"a": true, "c": 1}\n'
    assert told(read(content, "jsonl")) == [
        (1, ("x", None)), (2, ("1.5", '[1,"y"]')), (4, "the line is not JSON"), (5, "the line is not a JSON object"),
        (6, "a is absent"), (7, ("true", None)),
    ]  # fmt: skip


def test_parquet(tmp_path: Path) -> None:
    """Rows of Parquet are read, empty required ones are broken, a damaged file is named."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": ["x", None], "c": [1, 2]}), path)
    assert told(list(read_rows(path, source("parquet"), "it"))) == [(1, ("x", None)), (2, "a is absent")]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="it is not a whole Parquet file"):
        list(read_rows(path, source("parquet"), "it"))
    pq.write_table(pa.table({"b": ["x"]}), path)
    with pytest.raises(UsageError, match="it has no column 'a'; it has 'b'"):
        list(read_rows(path, source("parquet"), "it"))


def test_sqlite(tmp_path: Path) -> None:
    """A table of SQLite is read without leaving anything beside the file."""
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a TEXT, b REAL)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [("x", 1.5), (None, 2)])
    connection.close()
    assert told(list(read_rows(path, source("sqlite", table="t"), "it"))) == [(1, ("x", "1.5")), (2, "a is absent")]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.db"]
    with pytest.raises(UsageError, match="it has no table 'u'; it has 't'"):
        list(read_rows(path, source("sqlite", table="u"), "it"))
    path.write_bytes(b"x" * 4096)
    with pytest.raises(UsageError, match="it is not a whole SQLite file"):
        list(read_rows(path, source("sqlite", table="t"), "it"))
