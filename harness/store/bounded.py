"""A cache with a limit: so many bytes, so many seconds, and what was used longest ago goes first."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from harness.errors import SignoffError
from harness.store.keyvalue import KeyValueCache

_log = logging.getLogger("signoff.store")
_SUM_BYTES = 16
# A use is written down at most once in this time, and several together: it rewrites the whole row.
_USE_S = 60.0
_TOUCHES = 16
# One put may have to make room, but must not tidy up for long.
_MOST = 128
# The clock may be set; an entry from further in the future than this is not believed.
_SKEW_S = 60.0


class BoundedCache(KeyValueCache):
    """Values under keys that expire after ``seconds``, in a file of at most about ``limit`` bytes.

    The limit counts the pages in use, all that the database needs included; several processes may share the file. (A
    file that was allowed more before keeps its size, and fills up to the new limit only.) Every value carries a
    checksum; one that does not fit it is forgotten. The disk is never waited for: kill -9 loses nothing, a power cut
    may leave a damaged file, which is moved aside. ``get`` and ``put`` are meant for an event loop: they take well
    below a millisecond, and a tenth of a second at worst, when another process holds the lock.
    """

    # Answers are larger than the table of the plain cache packs well: it would give each of them a page of its own. The
    # value stands last, so that nothing else has to be looked for behind it.
    migrations = (
        """CREATE TABLE entries (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, created REAL NOT NULL,
           used REAL NOT NULL DEFAULT 0, value BLOB NOT NULL)""",
        "CREATE INDEX entries_by_use ON entries (used)",
        "CREATE INDEX entries_by_age ON entries (created)",
    )
    busy_s: ClassVar[float | None] = 0.1
    synchronous: ClassVar[Literal["NORMAL", "OFF"]] = "OFF"

    def __init__(self, path: Path, *, seconds: float, limit: int, now: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._seconds, self._limit, self._now = seconds, limit, now
        self._used: dict[str, float] = {}
        # The limits may have been wider before.
        while self._attempt(self._tidied):
            pass

    def get(self, key: str) -> bytes | None:
        """The value of ``key``; None when there is none, when it is too old, or when it is damaged."""
        found = self._attempt(partial(_select_one, key))
        if found is None:
            return None
        content, created, used = found
        now = self._now()
        if not -_SKEW_S <= now - created < self._seconds:
            self._forget(key)
            return None
        value = content[_SUM_BYTES:]
        if _checksum(key, value) != content[:_SUM_BYTES]:
            _log.warning("%s: the entry %s was damaged and is forgotten", self.path, key[:12])
            self._forget(key)
            return None
        if now - used >= _USE_S:
            self._touch(key, now)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value`` in place of what was there; one that would fill an eighth of the whole is not kept."""
        if len(value) * 8 > self._limit:
            return
        content, now = _checksum(key, value) + value, self._now()

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("DELETE FROM entries WHERE key = ?", (key,))
                db.execute(
                    "INSERT INTO entries (key, value, created, used) VALUES (?, ?, ?, ?)", (key, content, now, now)
                )
                self._note_use(db)
                self._trim(db)

        self._attempt(work)

    def size_bytes(self) -> int:
        """The bytes of all pages in use."""
        return self._attempt(_pages_bytes)

    def _touch(self, key: str, now: float) -> None:
        self._used[key] = now
        if len(self._used) >= _TOUCHES:
            with contextlib.suppress(SignoffError):
                self._attempt(self._noted)

    def _noted(self, db: sqlite3.Connection) -> None:
        with db:
            self._note_use(db)

    def _note_use(self, db: sqlite3.Connection) -> None:
        used, self._used = self._used, {}
        rows = [(at, key) for key, at in list(used.items())]
        db.executemany("UPDATE entries SET used = ? WHERE key = ?", rows)

    def _forget(self, key: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("DELETE FROM entries WHERE key = ?", (key,))

        with contextlib.suppress(SignoffError):
            self._attempt(work)

    def _tidied(self, db: sqlite3.Connection) -> bool:
        """Whether something had to go, so that more may have to."""
        with db:
            return self._trim(db) > 0

    def _trim(self, db: sqlite3.Connection) -> int:
        """Delete what is too old and then what is too much, as far as one put may; how many entries went."""
        gone = db.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE created < ? ORDER BY created LIMIT ?)",
            (self._now() - self._seconds, _MOST),
        ).rowcount
        while gone < _MOST and _pages_bytes(db) > self._limit:
            if not db.execute("DELETE FROM entries WHERE id = (SELECT id FROM entries ORDER BY used LIMIT 1)").rowcount:
                break
            gone += 1
        return gone


def _pages_bytes(db: sqlite3.Connection) -> int:
    whole, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (whole - free) * size


def _select_one(key: str, db: sqlite3.Connection) -> tuple[bytes, float, float] | None:
    query = "SELECT value, created, used FROM entries WHERE key = ?"
    found: tuple[bytes, float, float] | None = db.execute(query, (key,)).fetchone()
    return found


def _checksum(key: str, value: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + value).digest()[:_SUM_BYTES]
