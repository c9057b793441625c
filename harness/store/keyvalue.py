"""Bytes under keys in SQLite: write-ahead log, machine-local, safe under several processes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Literal, Self, TypeVar

from harness.errors import SignoffError, UsageError
from harness.store.files import MOVE_CACHE, locked, room_for

# Each entry lifts the schema by one version; change and version share one transaction.
_MIGRATIONS = (
    """CREATE TABLE IF NOT EXISTS entries
       (key TEXT PRIMARY KEY, value BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID""",
    "ALTER TABLE entries ADD COLUMN size INTEGER GENERATED ALWAYS AS (length(value)) VIRTUAL",
)
# OR IGNORE would also drop a row whose value is NULL, silently.
_INSERT = "INSERT INTO entries (key, value, created) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
_CHUNK = 500
_BUSY_SECONDS = 30
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DENIED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
# A full disk reaches SQLite as any of these, depending on which of its files could not grow.
_FULL = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_FSYNC)
_T = TypeVar("_T")


class KeyValueCache:
    """A table of key, value, time of creation and size, for several threads and processes of one machine.

    A damaged file is moved aside with a warning and a new one begun: a cache may forget, never block. Every method
    raises UsageError when the disk is full or read-only (what was put before stays), SignoffError for the rest.
    """

    migrations: ClassVar[Sequence[str]] = _MIGRATIONS
    """The schema; a subclass may have its own."""
    busy_s: ClassVar[float | None] = None
    """How long to wait for a lock that another process holds; None: half a minute."""
    synchronous: ClassVar[Literal["NORMAL", "OFF"]] = "NORMAL"
    """OFF never waits for the disk: a kill loses nothing, a power cut may leave a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        self._guard = threading.Lock()
        self._db, self._inode = self._opened()

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The entries that exist among ``keys``."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, bytes] = {}
        for start in range(0, len(wanted), _CHUNK):
            found.update(self._attempt(partial(_select, wanted[start : start + _CHUNK])))
        return found

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Store ``entries`` in one transaction; what is there already stays."""
        now = time.time()
        rows = [(key, value, now) for key, value in entries.items()]

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.executemany(_INSERT, rows)

        self._attempt(work)

    def size_bytes(self) -> int:
        """The bytes of all values together."""
        return int(self._attempt(lambda db: db.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()[0]))

    def __len__(self) -> int:
        return int(self._attempt(lambda db: db.execute("SELECT count(*) FROM entries").fetchone()[0]))

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        if not self._closed:
            self._db.close()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._guard:
            try:
                return work(self._db)
            except sqlite3.Error as error:
                if _code(error) & 0xFF not in _DAMAGED:
                    raise _explained(self.path, error) from error
                self._db.close()
                self._db, self._inode = self._opened(damaged=self._inode, why=error)
            try:
                return work(self._db)
            except sqlite3.Error as error:
                raise _explained(self.path, error) from error

    def _opened(self, damaged: int | None = None, why: Exception | None = None) -> tuple[sqlite3.Connection, int]:
        # Under a lock: SQLite's busy handler does not cover the change to WAL, and of two processes that find the
        # same damage the second must not move the first one's new file.
        with room_for(self.path), locked(self.path.with_name(f"{self.path.name}.lock")):
            if why is not None and _inode(self.path) == damaged:
                _set_aside(self.path, why)
            try:
                db = self._connect()
            except sqlite3.Error as error:
                if _code(error) & 0xFF not in _DAMAGED:
                    raise _explained(self.path, error) from error
                _set_aside(self.path, error)
                db = self._connect()
            return db, _inode(self.path)

    def _connect(self) -> sqlite3.Connection:
        wait = _BUSY_SECONDS if self.busy_s is None else self.busy_s
        db = sqlite3.connect(self.path, timeout=wait, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(f"PRAGMA synchronous={self.synchronous}")
            _lift(db, self.path, self.migrations)
        except BaseException:
            db.close()
            raise
        return db


def _select(keys: Sequence[str], db: sqlite3.Connection) -> list[tuple[str, bytes]]:
    marks = ",".join("?" * len(keys))
    query = f"SELECT key, value FROM entries WHERE key IN ({marks})"  # noqa: S608 - only question marks
    return db.execute(query, keys).fetchall()


def _lift(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        message = f"the cache {path} was made by a newer Signoff; upgrade this one, or {MOVE_CACHE}"
        raise UsageError(message)
    for number in range(version, len(migrations)):
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(migrations[number])
            db.execute(f"PRAGMA user_version={number + 1}")


def _code(error: sqlite3.Error) -> int:
    # Errors of the Python layer, such as the use of a closed connection, carry no code.
    return getattr(error, "sqlite_errorcode", 0)


def _explained(path: Path, error: sqlite3.Error) -> SignoffError:
    code = _code(error)
    if code in _FULL or code & 0xFF == sqlite3.SQLITE_FULL:
        return UsageError(f"no space left for the cache {path} ({error}); free some, or {MOVE_CACHE}")
    if code & 0xFF in _DENIED:
        return UsageError(f"the cache {path} cannot be written ({error}); make it writable, or {MOVE_CACHE}")
    return SignoffError(f"the cache {path} cannot be used: {error}")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    message = f"the cache {path} is damaged ({error}); it was moved to {aside.name} and a new one begun"
    warnings.warn(message, stacklevel=2)
