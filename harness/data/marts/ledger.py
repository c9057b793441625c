"""The ledger of a mart's database: every step and its row are one transaction, so a killed build can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.marts.origins import patiently
from harness.errors import UsageError
from harness.store import digest_of
from harness.store.files import room_for

if TYPE_CHECKING:
    import duckdb

_LEDGER = """
CREATE TABLE IF NOT EXISTS _steps (
    name VARCHAR PRIMARY KEY, code VARCHAR, inputs VARCHAR, rows BIGINT,
    started VARCHAR, finished VARCHAR, seconds DOUBLE, made VARCHAR[]
)
"""
_OBJECTS = """
SELECT 'TABLE ' || '"' || table_name || '"', table_oid FROM duckdb_tables() WHERE NOT internal AND NOT temporary
UNION ALL SELECT 'VIEW ' || '"' || view_name || '"', view_oid FROM duckdb_views() WHERE NOT internal AND NOT temporary
UNION ALL SELECT 'TYPE ' || '"' || type_name || '"', type_oid FROM duckdb_types() WHERE NOT internal
UNION ALL SELECT CASE function_type WHEN 'table_macro' THEN 'MACRO TABLE ' ELSE 'MACRO ' END
    || '"' || function_name || '"', max(function_oid) FROM duckdb_functions()
    WHERE NOT internal AND function_type IN ('macro', 'table_macro') GROUP BY ALL
"""
# Dropped in this order: a table may be of a type of its own.
_ORDER = ("VIEW", "TABLE", "MACRO", "TYPE")


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step: ``rows`` that it made or looked at, its ``seconds`` and when it was ``finished``.

    ``skipped``: nothing changed since then, so nothing was done.
    """

    name: str
    rows: int
    seconds: float
    finished: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to do under ``name``: ``code`` is the digest of how, ``inputs`` that of what it is done to.

    ``action`` makes tables, or else returns how many rows it looked at. When it runs, whatever steps of a higher
    ``level`` made is dropped first.
    """

    name: str
    level: int
    code: str
    inputs: str
    action: Callable[[duckdb.DuckDBPyConnection], int]

    @property
    def digest(self) -> str:
        """What changes when the step would make something else."""
        return digest_of([self.name, self.code, self.inputs])


@dataclass
class Ledger:
    """Runs steps once."""

    connection: duckdb.DuckDBPyConnection
    said: Callable[[StepDone], None]
    done: list[StepDone] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)

    def begin(self, names: Sequence[tuple[str, int]]) -> None:
        """Say which steps there are, with their levels; what others made before is dropped."""
        self.connection.execute(_LEDGER)
        self.levels = dict(names)
        with self._transaction():
            self._forget([name for (name,) in self._query("SELECT name FROM _steps") if name not in self.levels])

    def run(self, step: Step) -> None:
        """Do ``step``, unless the same was done to the same before."""
        query = "SELECT rows, seconds, finished FROM _steps WHERE name = ? AND code = ? AND inputs = ?"
        found = self._query(query, [step.name, step.code, step.inputs])
        if found:
            rows, seconds, finished = found[0]
            self._note(StepDone(step.name, rows, seconds, finished, skipped=True))
            return
        started, clock = _now(), time.monotonic()
        with self._transaction():
            later = [name for name, level in self.levels.items() if level > step.level]
            self._forget([step.name, *later])
            before = dict(self._query(_OBJECTS))
            rows = step.action(self.connection)
            made = self._made(step.name, before)
            seconds = time.monotonic() - clock
            finished = _now()
            row = [step.name, step.code, step.inputs, rows, started, finished, seconds, made]
            self.connection.execute("INSERT INTO _steps VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._note(StepDone(step.name, rows, seconds, finished, skipped=False))

    def _made(self, step: str, before: dict[str, int]) -> list[str]:
        after = dict(self._query(_OBJECTS))
        if lost := sorted(name for name, oid in before.items() if after.get(name) != oid):
            message = f"{step} replaces {lost[0]}, which an earlier step made; give it another name"
            raise UsageError(message)
        return sorted(after.keys() - before.keys())

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            for (made,) in self._query("SELECT made FROM _steps WHERE name = ?", [name]):
                for thing in sorted(made, key=lambda text: _ORDER.index(text.split(" ")[0])):
                    self.connection.execute(f"DROP {thing}")
            self.connection.execute("DELETE FROM _steps WHERE name = ?", [name])

    def _note(self, done: StepDone) -> None:
        self.done.append(done)
        self.said(done)

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, list(values)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def opened(path: Path, threads: int | None, writes: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The database ``path``; its SQL reaches no file but those below ``writes``, no network and no clock's zone.

    A file that cannot be read (it is of another version, or damaged) is begun anew: it only saves work.
    """
    import duckdb

    settings: dict[str, Any] = {"autoload_known_extensions": False, "autoinstall_known_extensions": False}
    if threads:
        settings["threads"] = threads
    path.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(str(path), config=settings)
        except duckdb.Error as error:
            if "lock" in str(error) or not path.is_file():
                raise
            path.unlink()
            path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
            return duckdb.connect(str(path), config=settings)

    with room_for(path):
        connection = patiently(connect, f"{path} is open in another process")
        try:
            for setting in (
                "SET TimeZone = 'UTC'",
                "SET python_enable_replacements = false",
                "SET preserve_insertion_order = true",
                "SET enable_progress_bar = false",
                f"SET temp_directory = '{_quoted(path.with_name('spill'))}'",
                f"SET allowed_directories = ['{_quoted(writes)}']",
                "SET enable_external_access = false",
            ):
                connection.execute(setting)
            yield connection
        finally:
            connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
