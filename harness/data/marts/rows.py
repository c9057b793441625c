"""From the last step's table to rows that may be learnt from: checked, anonymised, without copies, split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any

import orjson

from harness.data.marts.duplicates import duplicates
from harness.data.marts.labels import doubts
from harness.data.marts.loading import kept_aside
from harness.data.marts.privacy import Cleaner
from harness.data.marts.records import as_text
from harness.data.marts.splits import split_of
from harness.errors import UsageError
from harness.spec.marts import DROP_REASON, DROPPED, FINAL, SPLIT, Mart, Review

if TYPE_CHECKING:
    import duckdb

REVISION = 1


def clean(connection: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    """Make ``_clean``, the mart's rows in the order of their key, and ``_aside``, the rows that cannot be used."""
    columns = _columns(connection, mart)
    named = ", ".join(f'"{name}"' for name in columns if name != DROP_REASON)
    reason = f'"{DROP_REASON}"' if DROP_REASON in columns else "NULL::VARCHAR"
    order = ", ".join(f'"{name}"' for name in mart.key)
    connection.execute(
        f"CREATE TABLE _checked AS SELECT row_number() OVER (ORDER BY {order}) - 1 AS _n, {named}, "  # noqa: S608
        f'{reason} AS {DROP_REASON}, CASE {_faults(mart)} END AS _wrong FROM "{mart.name}" ORDER BY _n'
    )
    cleaner = _cleaner(connection, mart)
    texts = ", ".join(f'"{name}"' for name in mart.text)
    rows = connection.execute(f"SELECT {texts} FROM _checked ORDER BY _n").fetchall()  # noqa: S608
    done = [tuple(_cleaned(text, cleaner) for text in row) for row in rows]
    _frame(connection, "_cleaned", ["_n", *mart.text], [(n, *row) for n, row in enumerate(done)])
    replaced = ", ".join(f'c."{name}" AS "{name}"' for name in mart.text)
    connection.execute(
        f"CREATE TABLE _clean AS SELECT r.* REPLACE ({replaced}) "  # noqa: S608
        "FROM _checked r JOIN _cleaned c ON c._n = r._n ORDER BY r._n"
    )
    connection.unregister("_cleaned")
    _keep_aside(connection, mart, cleaner)
    return len(rows)


def _columns(connection: duckdb.DuckDBPyConnection, mart: Mart) -> list[str]:
    import duckdb

    try:
        described = connection.execute(f'DESCRIBE "{mart.name}"').fetchall()
    except duckdb.CatalogException as error:
        message = f"mart {mart.name!r}: no step makes a table {mart.name!r}; the last one must"
        raise UsageError(message) from error
    types = {str(row[0]): str(row[1]) for row in described if not str(row[0]).startswith("_")}
    if absent := [name for name in mart.columns if name not in types]:
        message = (
            f"mart {mart.name!r}: its table has no column {', '.join(map(repr, absent))}; it has {', '.join(types)}"
        )
        raise UsageError(message)
    if SPLIT in types:
        raise UsageError(f"mart {mart.name!r}: its table has a column 'split', which is decided later; rename it")
    for name in (*mart.text, *mart.labels, *([DROP_REASON] if DROP_REASON in types else ())):
        if types[name] != "VARCHAR":
            raise UsageError(f"mart {mart.name!r}: column {name!r} is {types[name]}; it must be VARCHAR")
    _unique(connection, mart)
    return list(types)


def _unique(connection: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    key = ", ".join(f'"{name}"' for name in mart.key)
    absent = " OR ".join(f'"{name}" IS NULL' for name in mart.key)
    query = f'SELECT {key}, count(*) FROM "{mart.name}" GROUP BY ALL HAVING count(*) > 1 OR {absent} ORDER BY ALL'  # noqa: S608
    if found := connection.execute(query).fetchall():
        *values, count = found[0]
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(mart.key, values))
        wrong = f"{count} rows have {shown}" if None not in values else f"{count} rows have no whole key ({shown})"
        raise UsageError(f"mart {mart.name!r}: {wrong}; the key must tell rows apart ({len(found)} such in all)")


def _faults(mart: Mart) -> str:
    faults = [(f'"{mart.group}" IS NULL', f"{mart.group} is absent")]
    faults += [(f"coalesce(trim(\"{name}\"), '') = ''", f"{name} is empty") for name in mart.text]
    for name, values in mart.labels.items():
        listed = ", ".join(_literal(value) for value in values)
        faults.append((f'"{name}" NOT IN ({listed})', f"{name} is outside its values"))
    return " ".join(f"WHEN {test} THEN {_literal(reason)}" for test, reason in faults)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _cleaner(connection: duckdb.DuckDBPyConnection, mart: Mart) -> Cleaner | None:
    if mart.anonymise is None:
        return None
    names: list[str] = []
    for source, column in mart.anonymise.names.items():
        query = f'SELECT DISTINCT "{column}"::VARCHAR FROM "{source}" WHERE "{column}" IS NOT NULL'  # noqa: S608
        names += [name for (name,) in connection.execute(query).fetchall()]
    return Cleaner(mart.anonymise, names)


def _cleaned(text: str | None, cleaner: Cleaner | None) -> str | None:
    return text if text is None or cleaner is None else cleaner.text(text)


def _keep_aside(connection: duckdb.DuckDBPyConnection, mart: Mart, cleaner: Cleaner | None) -> None:
    rows = kept_aside(connection, mart.sources)
    shown = ", ".join(f'"{name}"' for name in mart.columns)
    query = f"SELECT _wrong, {shown} FROM _clean WHERE _wrong IS NOT NULL AND {DROP_REASON} IS NULL ORDER BY _n"  # noqa: S608
    for reason, *values in connection.execute(query).fetchall():
        raw = orjson.dumps(dict(zip(mart.columns, map(as_text, values)))).decode()
        rows.append({"source": mart.name, "line": None, "reason": reason, "raw": raw})
    cleaned = [
        (row["source"], row["line"], row["reason"], cleaner.raw(str(row["raw"])) if cleaner else row["raw"])
        for row in rows
    ]
    _frame(connection, "_lines", ["source", "line", "reason", "raw"], cleaned, {"line"})
    connection.execute("CREATE TABLE _aside AS SELECT * FROM _lines")
    connection.unregister("_lines")


def decide(connection: duckdb.DuckDBPyConnection, mart: Mart) -> int:
    """Make ``final``, the rows that stay with their split, and ``dropped``, those that do not with their reason.

    UsageError if a split would be empty.
    """
    columns = mart.deduplicate.columns or mart.text
    texts = ", ".join(f'"{name}"' for name in columns)
    usable = f"{DROP_REASON} IS NULL AND _wrong IS NULL"
    query = f'SELECT _n, "{mart.group}"::VARCHAR, {texts} FROM _clean WHERE {usable} ORDER BY _n'  # noqa: S608
    rows = connection.execute(query).fetchall()
    found = list(duplicates(["\n".join(row[2:]) for row in rows], mart.deduplicate))
    copies = {item.row: item for item in found}
    decided: list[tuple[Any, ...]] = []
    for index, (n, group, *_) in enumerate(rows):
        copy = copies.get(index)
        split = None if copy else split_of(mart.name, group, mart.splits)
        decided.append((n, split, copy and copy.reason, copy and rows[copy.of][0], copy and round(copy.similarity, 4)))
    _frame(connection, "_found", ["_n", SPLIT, "_copy", "_of", "similarity"], decided, {"_n", "_of"}, {"similarity"})
    _make_final(connection)
    _make_dropped(connection, mart)
    connection.unregister("_found")
    _none_empty(connection, mart)
    return len(rows) - len(found)


def _make_final(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        f"CREATE TABLE {FINAL} AS SELECT c.* EXCLUDE (_n, _wrong, {DROP_REASON}), f.{SPLIT} "  # noqa: S608
        f"FROM _clean c JOIN _found f ON f._n = c._n WHERE f.{SPLIT} IS NOT NULL ORDER BY c._n"
    )


def _make_dropped(connection: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    shown = ", ".join(f'c."{name}"' for name in mart.columns)
    of = ", ".join(f"'{name}': o.\"{name}\"::VARCHAR" for name in mart.key)
    connection.execute(
        f"CREATE TABLE {DROPPED} AS SELECT coalesce(c.{DROP_REASON}, f._copy) AS reason, "  # noqa: S608
        f"CASE WHEN f._of IS NOT NULL THEN {{{of}}} END AS copy_of, f.similarity, {shown} "
        "FROM _clean c LEFT JOIN _found f ON f._n = c._n LEFT JOIN _clean o ON o._n = f._of "
        f"WHERE c.{DROP_REASON} IS NOT NULL OR f._copy IS NOT NULL ORDER BY c._n"
    )


def _none_empty(connection: duckdb.DuckDBPyConnection, mart: Mart) -> None:
    counts = dict(connection.execute(f"SELECT {SPLIT}, count(*) FROM {FINAL} GROUP BY ALL").fetchall())  # noqa: S608
    if not (empty := [name for name in mart.splits if not counts.get(name)]):
        return
    groups = connection.execute(f'SELECT count(DISTINCT "{mart.group}") FROM {FINAL}').fetchall()[0][0]  # noqa: S608
    query = f"SELECT reason, count(*) FROM {DROPPED} GROUP BY ALL UNION ALL SELECT reason, count(*) FROM _aside GROUP BY ALL"  # noqa: S608, E501
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(connection.execute(query).fetchall())) or "none"
    why = (
        f"no row is left of the sources (left out: {left})"
        if not counts
        else f"with a share of {mart.splits[empty[0]]:g}, none of the {groups} groups of {mart.group!r} falls into it"
        f" (rows left out: {left}); raise its share or add rows"
    )
    raise UsageError(f"mart {mart.name!r}: split {empty[0]!r} is empty: {why}")


def review(connection: duckdb.DuckDBPyConnection, mart: Mart, settings: Review) -> int:
    """Make ``_review``: the rows of ``final`` whose labels the others contradict."""
    labels = settings.labels or tuple(mart.labels)
    texts = " || chr(10) || ".join(f'"{name}"' for name in mart.text)
    listed = ", ".join(f'"{name}"' for name in (*mart.key, *labels))
    query = f'SELECT {texts}, "{mart.group}"::VARCHAR, {listed} FROM {FINAL} ORDER BY {_key(mart)}'  # noqa: S608
    rows = connection.execute(query).fetchall()
    found: list[tuple[Any, ...]] = []
    for at, label in enumerate(labels):
        column = [row[2 + len(mart.key) + at] for row in rows]
        for doubt in doubts([row[0] for row in rows], column, [row[1] for row in rows], settings):
            key = [as_text(value) for value in rows[doubt.row][2 : 2 + len(mart.key)]]
            found.append(
                (*key, label, doubt.given, doubt.predicted, doubt.p_given, doubt.p_predicted, rows[doubt.row][0])
            )
    names = [*mart.key, "label", "given", "predicted", "p_given", "p_predicted", "text"]
    _frame(connection, "_doubts", names, found, set(), {"p_given", "p_predicted"})
    connection.execute("CREATE TABLE _review AS SELECT * FROM _doubts")
    connection.unregister("_doubts")
    return len(found)


def _key(mart: Mart) -> str:
    return ", ".join(f'"{name}"' for name in mart.key)


def _frame(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    whole: Set[str] = frozenset({"_n"}),
    floats: Set[str] = frozenset(),
) -> None:
    """Show ``rows`` to DuckDB as ``name``: columns of ``whole`` numbers, of ``floats``, and otherwise of text."""
    import pyarrow as pa

    kinds = {**dict.fromkeys(whole, pa.int64()), **dict.fromkeys(floats, pa.float64())}
    by_column = list(zip(*rows)) or [()] * len(columns)
    arrays = [pa.array(values, kinds.get(column, pa.string())) for column, values in zip(columns, by_column)]
    connection.register(name, pa.Table.from_arrays(arrays, names=list(columns)))
