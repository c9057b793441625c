"""Steps and audits in SQL: what they may say, and functions of Python that they may call."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EXIT_FAIL, SignoffError, UsageError
from harness.spec.marts import DROPPED, FINAL

if TYPE_CHECKING:
    import duckdb

SHOWN_ROWS = 5
_NOT_REPEATABLE = re.compile(
    r"\b(random|setseed|uuid|uuidv4|uuidv7|gen_random_uuid|nextval|now|today|transaction_timestamp|current_localtime"
    r"|current_localtimestamp|get_current_time|get_current_timestamp)\s*\(|\b(current_date|current_time(?:stamp)?)\b",
    re.IGNORECASE,
)
_CREATES = re.compile(r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:TABLE|VIEW|MACRO|FUNCTION|TYPE)\b", re.IGNORECASE)
_COMMENT_OR_TEXT = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)


class AuditError(SignoffError):
    """An audit returned rows; the mart is not built, and the command exits with 1."""

    exit_code = EXIT_FAIL

    def __init__(self, audit: str, rows: list[dict[str, Any]], count: int) -> None:
        shown = "\n".join(f"  {row}" for row in rows[:SHOWN_ROWS])
        more = f"\n  … and {count - SHOWN_ROWS} more" if count > SHOWN_ROWS else ""
        super().__init__(f"audit {audit} must return no row and returned {count}:\n{shown}{more}")
        self.audit, self.rows, self.count = audit, rows, count


def run_step(connection: duckdb.DuckDBPyConnection, sql: str, shown: str) -> int:
    """Run one step; returns the rows of the tables it made.

    Raises UsageError for SQL that is wrong, does something else than create, or would not do the same again.
    """
    import duckdb

    if found := _NOT_REPEATABLE.search(_COMMENT_OR_TEXT.sub(" ", sql)):
        message = f"{shown}: {found.group().strip('( ')} gives another value each time; a mart must come out the same"
        raise UsageError(message)
    before = _tables(connection)
    try:
        statements = connection.extract_statements(sql)
        if not statements:
            raise UsageError(f"{shown} holds no statement; a step makes tables with CREATE")
        for number, statement in enumerate(statements, start=1):
            if not _CREATES.match(plain := _COMMENT_OR_TEXT.sub(" ", statement.query)):
                begin = " ".join(plain.split()[:2])
                message = f"{shown}: statement {number} is {begin!r}; a step only makes tables, views, macros and types"
                raise UsageError(f"{message} (CREATE TABLE …), so that it can be run again")
            connection.execute(statement)
    except duckdb.Error as error:
        raise UsageError(f"{shown}: {error}") from error
    made = [name for name in _tables(connection) if name not in before]
    return sum(int(_one(connection, f'SELECT count(*) FROM "{name}"')) for name in made)  # noqa: S608


def run_audit(connection: duckdb.DuckDBPyConnection, sql: str, shown: str) -> int:
    """Run one audit over the tables ``final`` and ``dropped``; returns 0, or raises AuditError."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise UsageError(f"{shown} must be one SELECT, which returns the rows that are wrong")
        result = connection.execute(statements[0])
        names = [column[0] for column in result.description or ()]
        rows = result.fetchall()
    except duckdb.Error as error:
        raise UsageError(f"{shown}: {error} (it may read {FINAL} and {DROPPED})") from error
    if rows:
        raise AuditError(shown, [dict(zip(names, row)) for row in rows[:SHOWN_ROWS]], len(rows))
    return 0


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    query = "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY table_name"
    return [name for (name,) in connection.execute(query).fetchall()]


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return connection.execute(sql).fetchall()[0][0]


def add_functions(connection: duckdb.DuckDBPyConnection, folder: Path, files: tuple[str, ...]) -> None:
    """Make every annotated function of the Python ``files`` one that SQL may call; NULL in is NULL out."""
    import duckdb

    for file in files:
        for name, function in _functions(folder / file, file):
            try:
                connection.create_function(name, function)
            except (duckdb.Error, TypeError) as error:
                message = f"{file}: {name} cannot be a function of SQL: {error} (annotate what goes in and out)"
                raise UsageError(message) from error


def _functions(path: Path, shown: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    spec = importlib.util.spec_from_file_location(f"_mart_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        # Without this the interpreter would leave its compiled copy beside the file.
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except Exception as error:
        raise UsageError(f"{shown} cannot be loaded: {type(error).__name__}: {error}") from error
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == spec.name and not name.startswith("_"):
            # Annotations that are kept as text mean nothing to DuckDB.
            value.__annotations__ = inspect.get_annotations(value, eval_str=True)
            yield name, value
