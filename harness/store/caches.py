"""Generation and score caches: SQLite in WAL mode, machine-local, safe under several processes."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.errors import SignoffError, UsageError
from harness.store.digests import digest_of
from harness.store.files import room_for

_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID"
_VERSION = 1
_CHUNK = 500

GENERATION_FIELDS = (
    "model", "adapter", "engine", "engine_version", "dtype", "cpu", "tokenizer_template", "messages", "decoding", "output", "seed", "repeat",
)  # fmt: skip


class KeyValueCache:
    """Bytes under digests. Values carry the original latency and token counts: a cached answer still knows its cost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._closed = False
        with room_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            if _full(error):
                raise self._no_space() from error
            _set_aside(path, error)
            self._db = _open(path)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The entries that exist among ``keys``."""
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, value FROM entries WHERE key IN ({marks})"  # noqa: S608 - only question marks
            found.update(self._db.execute(query, part).fetchall())
        return found

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Store ``entries`` in one transaction; what is there already stays. UsageError when the disk is full."""
        now = time.time()
        try:
            with self._db:
                rows = [(key, value, now) for key, value in entries.items()]
                self._db.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)", rows)
        except sqlite3.OperationalError as error:
            if _full(error):
                raise self._no_space() from error
            message = f"the cache {self.path} cannot be written: {error}"
            raise SignoffError(message) from error

    def _no_space(self) -> UsageError:
        return UsageError(f"no space left for the cache {self.path}; free some, or point SIGNOFF_CACHE at another disk")

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM entries").fetchone()[0])

    def close(self) -> None:
        """Close the database; a second call does nothing."""
        if not self._closed:
            self._db.close()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class GenerationCache(KeyValueCache):
    """Answers of models, under ``generation_key``."""


class ScoreCache(KeyValueCache):
    """Scores of costly checks, under ``score_key``."""


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
            message = "made by another version"
            raise sqlite3.DatabaseError(message)
        with db:
            db.execute(_SCHEMA)
            db.execute(f"PRAGMA user_version={_VERSION}")
    except BaseException:
        db.close()
        raise
    return db


def _full(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE) if hasattr(
        error, "sqlite_errorcode"
    ) else False


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    warnings.warn(f"the cache {path} is unusable ({error}); it was moved to {aside.name} and a new one begun", stacklevel=3)


def generation_key(**fields: Any) -> str:
    """The key of one generation; TypeError names fields that are missing or unknown."""
    missing, unknown = sorted(set(GENERATION_FIELDS) - set(fields)), sorted(set(fields) - set(GENERATION_FIELDS))
    if missing or unknown:
        message = f"a generation key has the fields {GENERATION_FIELDS}; missing {missing}, unknown {unknown}"
        raise TypeError(message)
    return digest_of(fields)


def score_key(*, check: str, code_version: str, output: str, expect: str, judge: str = "") -> str:
    """The key of one score: digests of the check's configuration, of the output, the expectation and the judge."""
    return digest_of({"check": check, "code": code_version, "output": output, "expect": expect, "judge": judge})
