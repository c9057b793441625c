"""Taking the rows of a source into the database; a row that does not fit is kept aside with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.marts.records import Row, read_rows
from harness.spec.marts import MartSource

if TYPE_CHECKING:
    import duckdb

REVISION = 1
LINE = "_line"
"""The column of every source's table that holds the row's number in its file."""
_BATCH = 20_000


def aside_table(source: str) -> str:
    """The table of the rows of ``source`` that were kept aside: source, line, reason, raw."""
    return f"_aside_{source}"


def load_source(connection: duckdb.DuckDBPyConnection, name: str, source: MartSource, path: Path, shown: str) -> int:
    """Make the table ``name`` and its table of rows kept aside; returns how many rows fit.

    A value that DuckDB cannot cast to its column's type keeps the whole row aside.
    """
    columns = ", ".join(f'"{column}" VARCHAR' for column in source.types)
    connection.execute(f"CREATE TEMP TABLE _taken ({LINE} BIGINT, _raw VARCHAR, _reason VARCHAR, {columns})")
    try:
        rows = read_rows(path, source, shown)
        while batch := list(islice(rows, _BATCH)):
            _insert(connection, batch, source)
        aside = aside_table(name)
        connection.execute(f"CREATE TEMP TABLE _cast AS {_cast(source)}")
        values = ", ".join(f'"{column}"' for column in source.types)
        connection.execute(
            f'CREATE TABLE "{name}" AS SELECT {LINE}, {values} FROM _cast WHERE _reason IS NULL ORDER BY {LINE}'  # noqa: S608
        )
        connection.execute(
            f'CREATE TABLE "{aside}" AS SELECT ? AS source, {LINE} AS line, _reason AS reason, _raw AS raw '  # noqa: S608
            f"FROM _cast WHERE _reason IS NOT NULL ORDER BY {LINE}",
            [name],
        )
    finally:
        connection.execute("DROP TABLE IF EXISTS _taken")
        connection.execute("DROP TABLE IF EXISTS _cast")
    (count,) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0]  # noqa: S608
    return int(count)


def _insert(connection: duckdb.DuckDBPyConnection, batch: list[Row], source: MartSource) -> None:
    import pyarrow as pa

    texts = pa.string()
    arrays = {
        LINE: pa.array([row.line for row in batch], pa.int64()),
        "_raw": pa.array([row.raw for row in batch], texts),
        "_reason": pa.array([row.reason for row in batch], texts),
        **{name: pa.array([row.values.get(name) for row in batch], texts) for name in source.types},
    }
    connection.register("_batch", pa.table(arrays))
    connection.execute("INSERT INTO _taken SELECT * FROM _batch")
    connection.unregister("_batch")


def _cast(source: MartSource) -> str:
    faults = " ".join(
        f'WHEN "{name}" IS NOT NULL AND try_cast("{name}" AS {kind}) IS NULL THEN \'{name} is no {kind}\''
        for name, kind in source.types.items()
    )
    values = ", ".join(f'try_cast("{name}" AS {kind}) AS "{name}"' for name, kind in source.types.items())
    return f"SELECT {LINE}, _raw, coalesce(_reason, CASE {faults} END) AS _reason, {values} FROM _taken"  # noqa: S608


def kept_aside(connection: duckdb.DuckDBPyConnection, sources: Iterable[str]) -> list[dict[str, object]]:
    """Every row of ``sources`` that was kept aside, in the order of its file."""
    found = []
    for name in sources:
        query = f'SELECT source, line, reason, raw FROM "{aside_table(name)}" ORDER BY line'  # noqa: S608
        for source, line, reason, raw in connection.execute(query).fetchall():
            found.append({"source": source, "line": line, "reason": reason, "raw": raw})
    return found
