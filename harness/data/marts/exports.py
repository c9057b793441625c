"""The files of a built mart: the same rows give the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.data.marts.built import BUILD, MANIFEST
from harness.data.marts.cards import croissant, readme
from harness.data.marts.ledger import StepDone
from harness.data.marts.records import as_text
from harness.spec.marts import DROPPED, FINAL, SPLIT, Mart
from harness.store import canonical, digest_file
from harness.store.files import sync

if TYPE_CHECKING:
    import duckdb

_LISTS = {"dropped.jsonl": DROPPED, "set_aside.jsonl": "_aside", "review.jsonl": "_review"}
FRESH, OLD = ".build", ".build.old"
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def write_files(
    connection: duckdb.DuckDBPyConnection, mart: Mart, folder: Path, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Write every file of the mart to ``folder``, the manifest last; returns what the manifest says."""
    key = ", ".join(f'"{name}"' for name in mart.key)
    for split in mart.splits:
        query = f"SELECT * EXCLUDE ({SPLIT}) FROM {FINAL} WHERE {SPLIT} = '{split}' ORDER BY {key}"  # noqa: S608
        connection.execute(f"COPY ({query}) TO '{_quoted(folder / f'{split}.parquet')}' (FORMAT parquet)")
    for file, table in _LISTS.items():
        _write_lines(connection, table, folder / file)
    manifest = _manifest(connection, mart, inputs)
    manifest["columns"] = {
        str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE {FINAL}").fetchall() if row[0] != SPLIT
    }
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    manifest["files"] = {name: digest_file(folder / name) for name in files}
    (folder / "croissant.json").write_bytes(orjson.dumps(croissant(mart, manifest, folder), option=_PRETTY))
    (folder / "README.md").write_text(readme(mart, manifest), encoding="utf-8")
    manifest["files"] |= {name: digest_file(folder / name) for name in ("croissant.json", "README.md")}
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=_PRETTY))
    return manifest


def _write_lines(connection: duckdb.DuckDBPyConnection, table: str, path: Path) -> None:
    result = connection.execute(f"SELECT * FROM {table}")  # noqa: S608
    names = [column[0] for column in result.description or ()]
    with path.open("wb") as out:
        while rows := result.fetchmany(10_000):
            for row in rows:
                out.write(canonical({name: _plain(value) for name, value in zip(names, row)}) + b"\n")


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | dict) else as_text(value)


def _manifest(connection: duckdb.DuckDBPyConnection, mart: Mart, inputs: Mapping[str, Any]) -> dict[str, Any]:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    aside: dict[str, dict[str, int]] = {}
    for source, reason, count in rows("SELECT source, reason, count(*) FROM _aside GROUP BY ALL ORDER BY ALL"):
        aside.setdefault(source, {})[reason] = count
    counts = dict(rows(f"SELECT {SPLIT}, count(*) FROM {FINAL} GROUP BY ALL"))  # noqa: S608
    groups = dict(rows(f'SELECT {SPLIT}, count(DISTINCT "{mart.group}") FROM {FINAL} GROUP BY ALL'))  # noqa: S608
    return {
        "name": mart.name,
        "digest": _digest(connection, mart),
        "inputs": inputs,
        "counts": {name: counts[name] for name in mart.splits},
        "groups": {name: groups[name] for name in mart.splits},
        "labels": {name: _label_counts(connection, name) for name in mart.labels},
        "read": {name: rows(f'SELECT count(*) FROM "{name}"')[0][0] for name in mart.sources},  # noqa: S608
        "set_aside": aside,
        "drops": dict(rows(f"SELECT reason, count(*) FROM {DROPPED} GROUP BY ALL ORDER BY ALL")),  # noqa: S608
        "review": dict(rows("SELECT label, count(*) FROM _review GROUP BY ALL ORDER BY ALL")),
        "newest": _newest(connection, mart),
    }


def _label_counts(connection: duckdb.DuckDBPyConnection, label: str) -> dict[str, dict[str, int]]:
    query = f"SELECT {SPLIT}, coalesce(\"{label}\", ''), count(*) FROM {FINAL} GROUP BY ALL ORDER BY ALL"  # noqa: S608
    found: dict[str, dict[str, int]] = {}
    for split, value, count in connection.execute(query).fetchall():
        found.setdefault(split, {})[value] = count
    return found


def _newest(connection: duckdb.DuckDBPyConnection, mart: Mart) -> dict[str, str]:
    found = {}
    for name, source in mart.sources.items():
        if source.freshness and (field := source.freshness.loaded_at_field):
            query = f'SELECT max("{field}")::TIMESTAMP FROM "{name}"'  # noqa: S608
            if newest := connection.execute(query).fetchall()[0][0]:
                found[name] = newest.isoformat()
    return found


def _digest(connection: duckdb.DuckDBPyConnection, mart: Mart) -> str:
    """sha256 over the canonical rows, split by split, in the order of their key."""
    key = ", ".join(f'"{name}"' for name in mart.key)
    result = connection.execute(f"SELECT * FROM {FINAL} ORDER BY {SPLIT}, {key}")  # noqa: S608
    names = [column[0] for column in result.description or ()]
    digest = hashlib.sha256()
    while rows := result.fetchmany(10_000):
        for row in rows:
            digest.update(canonical({name: _plain(value) for name, value in zip(names, row)}) + b"\n")
    return digest.hexdigest()


def timings_of(done: list[StepDone], modified: Mapping[str, float | None], versions: Mapping[str, str]) -> bytes:
    """What differs from build to build: when each step was done, how old the files were, by which versions."""
    times = {
        name: datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat() for name, at in modified.items() if at
    }
    steps = [
        {"name": step.name, "rows": step.rows, "seconds": step.seconds, "finished": step.finished} for step in done
    ]
    return orjson.dumps({"steps": steps, "modified": times, "versions": dict(versions)}, option=_PRETTY)


def put_in_place(folder: Path) -> None:
    """Make ``folder/.build`` the folder ``build``; whoever is killed in between is mended by ``recover``."""
    fresh, build, old = folder / FRESH, folder / BUILD, folder / OLD
    for path in fresh.iterdir():
        sync(path)
    sync(fresh)
    if build.exists():
        build.rename(old)
    fresh.rename(build)
    sync(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Clear what a killed build left: an unfinished folder goes, the previous build comes back."""
    build, old = folder / BUILD, folder / OLD
    if old.exists() and not build.exists():
        old.rename(build)
    for left in (folder / FRESH, old):
        shutil.rmtree(left, ignore_errors=True)


def unfinished(folder: Path) -> Path:
    """A new folder for the files of a build, which git does not see."""
    fresh = folder / FRESH
    fresh.mkdir()
    (fresh / ".gitignore").write_text("*\n", encoding="utf-8")
    return fresh


def _quoted(path: Path) -> str:
    return os.fspath(path).replace("'", "''")
