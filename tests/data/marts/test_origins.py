"""Where rows come from: every kind of source gives the same mart, and what is missing is said."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import stamina

from harness.data.marts import BuiltMart, origins
from harness.errors import UsageError
from tests.data.marts.small import MART, build, notes, ran, write
from tests.store.conftest import wheels  # noqa: F401 -- a fixture
from tests.store.helpers import make_wheel

ROWS = notes(40)


@pytest.fixture(autouse=True)
def _impatient() -> Any:
    """Retries do not wait."""
    stamina.set_testing(True, attempts=origins.ATTEMPTS)
    yield
    stamina.set_testing(False)


def mart(origin: str, kind: str, more: str = "") -> str:
    """The small mart with another source."""
    new = f"from: {origin}\n    format: {kind}\n{more}"
    return MART.replace("from: path:raw/notes.jsonl\n    format: jsonl\n", new)


def made(tmp_path: Path, text: str) -> BuiltMart:
    """The mart of this file."""
    write(tmp_path, ROWS, text)
    return build(tmp_path, tmp_path / "cache")[0]


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """The digest of the rows as JSON lines of the repository give them."""
    return made(tmp_path / "plain", MART).digest


def test_parquet(tmp_path: Path, plain: str) -> None:
    """The same rows as Parquet, with a time that is one already, are the same mart."""
    write(tmp_path, [])
    table = pa.Table.from_pylist(ROWS)
    stamps = pa.compute.strptime(table["stamp"], "%Y-%m-%dT%H:%M:%SZ", "us")
    table = table.set_column(table.column_names.index("stamp"), "stamp", stamps)
    pq.write_table(table, tmp_path / "data/notes/raw/notes.parquet")
    assert made(tmp_path, mart("path:raw/notes.parquet", "parquet")).digest == plain


def test_sqlite(tmp_path: Path, plain: str) -> None:
    """The same rows in a table of SQLite are the same mart."""
    write(tmp_path, [])
    with sqlite3.connect(tmp_path / "data/notes/raw/notes.db") as connection:
        connection.execute("CREATE TABLE n (id INTEGER, author TEXT, body TEXT, mood TEXT, stamp TEXT)")
        connection.executemany("INSERT INTO n VALUES (:id, :author, :body, :mood, :stamp)", ROWS)
    connection.close()
    assert made(tmp_path, mart("path:raw/notes.db", "sqlite", "    table: n\n")).digest == plain


def test_csv(tmp_path: Path, plain: str) -> None:
    """The same rows as CSV are the same mart."""
    write(tmp_path, [])
    text = "\n".join([",".join(ROWS[0]), *(",".join(str(value) for value in row.values()) for row in ROWS)])
    (tmp_path / "data/notes/raw/notes.csv").write_text(text)
    assert made(tmp_path, mart("path:raw/notes.csv", "csv")).digest == plain


def stored(rows: list[dict[str, Any]]) -> str:
    """The address of a file in fsspec's memory."""
    address = "memory://marts/notes.jsonl"
    with fsspec.open(address, "wb") as out:
        out.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return address


def test_any_address_of_fsspec(tmp_path: Path, plain: str) -> None:
    """A file behind an address is fetched by each build; when it changed, what depends on it runs again."""
    text = mart(stored(ROWS), "jsonl")
    assert made(tmp_path, text).digest == plain
    assert ran(build(tmp_path, tmp_path / "cache")[1]) == []
    stored(ROWS[:-1])
    built, said = build(tmp_path, tmp_path / "cache")
    assert ran(said)[0] == "load raw_notes" and sum(built.counts.values()) == 39


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("memory://marts/nothing.jsonl", "there is no file memory://marts/nothing.jsonl"),
        ("nowhere://x/y.jsonl", "cannot be opened"),
        ("path:raw/nothing.jsonl", "there is no file"),
        ("path:../../../etc/passwd", "without '..'"),
    ],
)
def test_a_file_that_is_not_there(tmp_path: Path, origin: str, said: str) -> None:
    """The source and what is wrong are named."""
    with pytest.raises(UsageError, match=said):
        made(tmp_path, mart(origin, "jsonl"))


def test_another_file_than_stated(tmp_path: Path) -> None:
    """A file with another sha256 is not used, wherever it lies."""
    for origin in ("path:raw/notes.jsonl", stored(ROWS)):
        with pytest.raises(UsageError, match=f"expected {'0' * 64}"):
            made(tmp_path, mart(origin, "jsonl", f'    sha256: "{"0" * 64}"\n'))


def test_a_file_of_a_package(tmp_path: Path, plain: str, wheels: Path) -> None:  # noqa: F811
    """A file in a wheel is taken by its sha256."""
    content = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
    make_wheel(wheels, {"boxed/notes.jsonl": content})
    more = f'    sha256: "{hashlib.sha256(content).hexdigest()}"\n'
    assert made(tmp_path, mart("pypi:boxed==1.0#boxed/notes.jsonl", "jsonl", more)).digest == plain


def test_a_dataset(tmp_path: Path, plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library ``datasets`` gives the same mart; what it gave once is not asked for again."""
    home = tmp_path / "hub"
    (home / "someone/notes").mkdir(parents=True)
    (home / "someone/notes/train.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in ROWS))
    monkeypatch.chdir(home)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    text = mart("hf:someone/notes@0123abc", "dataset")
    assert made(tmp_path, text).digest == plain
    (home / "someone/notes/train.jsonl").unlink()
    assert ran(build(tmp_path, tmp_path / "cache")[1]) == []
    with pytest.raises(UsageError, match="hf:someone/other@0123abc cannot be had"):
        made(tmp_path, mart("hf:someone/other@0123abc", "dataset"))


def test_postgres_without_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable, and without DuckDB's extension, it is said what is missing; the secret never is."""
    text = mart("env:SHOP_DSN", "postgres", "    table: public.notes\n")
    monkeypatch.delenv("SHOP_DSN", raising=False)
    with pytest.raises(UsageError, match="in the variable SHOP_DSN, which is not set"):
        made(tmp_path, text)
    monkeypatch.setenv("SHOP_DSN", "host=127.0.0.1 port=1 password=hunter2")
    with pytest.raises(UsageError) as caught:
        made(tmp_path, text)
    assert "postgres" in str(caught.value) and "hunter2" not in str(caught.value)


class Flaky(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A file system that loses its connection a few times, or fails in another way."""

    protocol = "flaky"
    cachable = False
    failures: list[Exception] = []  # noqa: RUF012 -- what the test sets
    asked = 0

    def _open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        type(self).asked += 1
        if self.failures:
            raise self.failures.pop()
        return fsspec.open("memory://marts/notes.jsonl", "rb").open()


@pytest.fixture
def flaky() -> type[Flaky]:
    """The file system, fresh."""
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    stored(ROWS)
    Flaky.asked, Flaky.failures = 0, []
    return Flaky


def test_a_lost_connection_is_tried_again(tmp_path: Path, plain: str, flaky: type[Flaky]) -> None:
    """Three lost connections cost nothing but time."""
    flaky.failures = [ConnectionResetError(), TimeoutError(), ConnectionRefusedError()]
    assert made(tmp_path, mart("flaky://notes.jsonl", "jsonl")).digest == plain
    assert flaky.asked == 4


def test_patience_ends(tmp_path: Path, flaky: type[Flaky]) -> None:
    """After four tries the connection is given up."""
    flaky.failures = [ConnectionResetError("gone") for _ in range(9)]
    with pytest.raises(UsageError, match=r"flaky://notes.jsonl cannot be reached: .*gone"):
        made(tmp_path, mart("flaky://notes.jsonl", "jsonl"))
    assert flaky.asked == 4


def test_other_errors_are_not_tried_again(tmp_path: Path, flaky: type[Flaky]) -> None:
    """What will not pass is asked once."""
    flaky.failures = [FileNotFoundError("no")]
    with pytest.raises(UsageError, match="there is no file"):
        made(tmp_path, mart("flaky://notes.jsonl", "jsonl"))
    assert flaky.asked == 1


def test_mistakes_in_sql_are_not_tried_again(tmp_path: Path, flaky: type[Flaky]) -> None:
    """A wrong step asks the source once, and fails at once."""
    write(tmp_path, [], mart("flaky://notes.jsonl", "jsonl"), sql__03_more_sql="CREATE TABLE x AS SELECT nobody")
    with pytest.raises(UsageError, match="nobody"):
        build(tmp_path, tmp_path / "cache")
    assert flaky.asked == 1


def test_a_database_that_another_holds(tmp_path: Path, plain: str) -> None:
    """While another process has the ledger's file open it is waited for."""
    write(tmp_path, ROWS)
    build(tmp_path, tmp_path / "cache")
    (database,) = (tmp_path / "cache").glob("marts/*/mart.duckdb")
    (tmp_path / "data/notes/build/README.md").unlink()
    code = "import duckdb, sys\nc = duckdb.connect(sys.argv[1])\nprint('open', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", code, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdin and holder.stdout.readline() == "open\n"
        with pytest.raises(UsageError, match="is open in another process"):
            build(tmp_path, tmp_path / "cache")
        stamina.set_testing(False)
        threading.Timer(0.3, holder.stdin.close).start()
        assert build(tmp_path, tmp_path / "cache")[0].digest == plain
