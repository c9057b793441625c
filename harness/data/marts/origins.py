"""Getting the files that a mart is made of: from the repository, packages, hubs, buckets and databases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from harness.data.marts.records import as_text
from harness.errors import UsageError
from harness.spec.marts import Mart, MartSource
from harness.store import digest_bytes, digest_file, fetch
from harness.store.files import room_for

ATTEMPTS = 4
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source's file as it was taken for this build; ``modified`` is its time in seconds, if it has one."""

    path: Path
    sha256: str
    modified: float | None


def fetch_source(mart: Mart, name: str, folder: Path, work: Path, cache: Path) -> Fetched:
    """The file of source ``name``; what is not a file already becomes one in ``work``.

    Raises UsageError when it is not there, is another than ``sha256`` says, or something that it needs is missing.
    """
    source, shown = mart.sources[name], f"source {name!r} of mart {mart.name!r}"
    copy = work / "sources" / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    if source.format == "postgres":
        return _made(lambda: _from_postgres(source, shown, copy), copy, f"{shown}: {source.origin} cannot be reached")
    if source.format == "dataset":
        return _dataset(source, shown, copy)
    if "://" in source.origin:
        found = _made(lambda: _from_url(source, shown, copy), copy, f"{shown}: {source.origin} cannot be reached")
    else:
        path = fetch(source.origin, source.sha256, cache=cache, root=folder)
        found = Fetched(path, digest_file(path), path.stat().st_mtime)
    if source.sha256 not in (None, found.sha256):
        message = f"{shown} has sha256 {found.sha256}, expected {source.sha256}; look at what changed before you use it"
        raise UsageError(message)
    return found


def _made(make: Callable[[], float | None], copy: Path, what: str) -> Fetched:
    with room_for(copy):
        modified = patiently(make, what)
    return Fetched(copy, digest_file(copy), modified)


def patiently(make: Callable[[], _Value], what: str) -> _Value:
    """Try again, up to four times in a minute, what failed in a way that passes: see ``transient``.

    If it does not pass, UsageError with ``what``, a sentence without its full stop, and the last error.
    """
    import stamina

    try:
        for attempt in stamina.retry_context(on=transient, attempts=ATTEMPTS, timeout=60.0, wait_initial=0.2):
            with attempt:
                return make()
    except Exception as error:
        if not transient(error):
            raise
        raise UsageError(f"{what}: {type(error).__name__} {error} (tried {ATTEMPTS} times)") from error
    raise AssertionError


def transient(error: Exception) -> bool:
    """Whether ``error`` may be gone a moment later: a lost connection, a timeout, a database that another holds."""
    import duckdb

    words = str(error)
    # Somebody who told the hub's library to stay offline is not helped by asking again.
    if "OfflineModeIsEnabled" in words:
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, duckdb.IOException | duckdb.ConnectionException):
        return any(said in words for said in ("Could not set lock", "onnection", "timed out", "timeout"))
    # The clients of hubs and buckets have kinds of their own, of which none is installed for certain.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        names & {"ClientConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "ServerTimeoutError"}
    )


def _from_url(source: MartSource, shown: str, copy: Path) -> float | None:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(source.origin)
        with system.open(path, "rb") as stream, copy.open("wb") as out:
            shutil.copyfileobj(stream, out, 1 << 20)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{shown}: {source.origin} cannot be opened: {error}") from error
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"{shown}: there is no file {source.origin}") from error
    except PermissionError as error:
        raise UsageError(f"{shown}: {source.origin} may not be read: {error}") from error
    try:
        return float(system.modified(path).timestamp())
    except (NotImplementedError, AttributeError, OSError):
        return None


def _from_postgres(source: MartSource, shown: str, copy: Path) -> None:
    import duckdb

    variable = source.origin.removeprefix("env:")
    if not (secret := os.environ.get(variable)):
        message = f"{shown} needs the connection string of the database in the variable {variable}, which is not set"
        raise UsageError(message)
    with duckdb.connect() as connection:
        try:
            connection.execute("LOAD postgres")
        except duckdb.Error as error:
            message = (
                f"{shown} needs DuckDB's extension 'postgres', which is not installed here; with a network: "
                "python -c \"import duckdb; duckdb.sql('INSTALL postgres')\""
            )
            raise UsageError(message) from error
        try:
            connection.execute(f"ATTACH '{_quoted(secret)}' AS origin (TYPE postgres, READ_ONLY)")
            columns = ", ".join(f'"{name}"::VARCHAR AS "{name}"' for name in source.types)
            # A table of a server has no order of its own.
            query = f"SELECT {columns} FROM origin.{source.table} ORDER BY ALL"  # noqa: S608
            connection.execute(f"COPY ({query}) TO '{_quoted(str(copy))}' (FORMAT json)")
        except duckdb.Error as error:
            said = str(error).replace(secret, f"${variable}")
            if transient(error):
                raise ConnectionError(said) from None
            raise UsageError(f"{shown} cannot be read: {said}") from None


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _dataset(source: MartSource, shown: str, copy: Path) -> Fetched:
    name, _, revision = source.origin.removeprefix("hf:").partition("@")
    # A revision never changes: what was taken once is taken again.
    stamp = copy.with_name(f"{copy.name}.of")
    wanted = "\0".join((source.origin, source.config or "", source.split))
    if not (copy.is_file() and stamp.is_file() and stamp.read_text() == wanted + digest_file(copy)):
        with room_for(copy):
            content = patiently(lambda: _from_hub(name, revision, source, shown), f"{shown}: the hub cannot be reached")
            copy.write_bytes(content)
            stamp.write_text(wanted + digest_bytes(content))
    return Fetched(copy, digest_file(copy), None)


def _from_hub(name: str, revision: str, source: MartSource, shown: str) -> bytes:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"{shown} needs datasets: pip install 'signoff[data]'") from error
    datasets.disable_progress_bars()
    try:
        rows: Any = datasets.load_dataset(name, source.config, split=source.split, revision=revision)
    except Exception as error:
        if transient(error):
            raise
        message = f"{shown}: {source.origin} cannot be had: {error} (is the hub reachable, is HF_HUB_OFFLINE set?)"
        raise UsageError(message) from error
    if absent := [column for column in source.columns if column not in rows.column_names]:
        raise UsageError(f"{shown} has no column {absent[0]!r}; it has {', '.join(map(repr, rows.column_names))}")
    kept = [column for column in source.types if column in rows.column_names]
    lines = ({name: as_text(row[name]) for name in kept} for row in rows)
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
