"""Run folders: what one execution produced, whole once its manifest is there."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from harness.errors import UsageError
from harness.store.digests import digest_file
from harness.store.files import room_for, write_atomic

_MANIFEST = "run.json"


class JsonLines:
    """Appends encoded lines to a file, flushed often enough that a kill loses little."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None

    def write(self, line: bytes) -> None:
        """Append one line, its line end included."""
        assert self._stream is not None
        with room_for(self.path):
            self._stream.write(line)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        assert self._stream is not None
        with room_for(self.path):
            self._stream.flush()

    def __enter__(self) -> Self:
        with room_for(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab", buffering=1 << 16)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._stream is not None
        with room_for(self.path):
            self._stream.close()


@dataclass(frozen=True)
class RunFolder:
    """One ``reports/<run-id>/``."""

    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The folder's name: UTC time and a random tail, so that names sort by time."""
        return self.path.name

    @classmethod
    def create(cls, reports: Path, run_id: str | None = None) -> RunFolder:
        """A new, empty run folder."""
        name = run_id or f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
        path = reports / name
        with room_for(path):
            path.mkdir(parents=True)
        return cls(path)

    def artifacts(self, stage: str) -> Path:
        """The folder for what a stage keeps beside its rows."""
        folder = self.path / "artifacts" / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def jsonl(self, name: str) -> JsonLines:
        """A writer for the JSON-lines file ``name`` below the folder."""
        return JsonLines(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file whole or not at all."""
        write_atomic(self.path / name, orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str))

    def read_json(self, name: str) -> Any:
        """Read one JSON file of the run; UsageError when it is absent or damaged."""
        try:
            return orjson.loads((self.path / name).read_bytes())
        except FileNotFoundError as error:
            message = f"run {self.run_id} has no {name}; it did not get that far, run signoff gate again"
            raise UsageError(message) from error
        except ValueError as error:
            message = f"{self.path / name} is damaged ({error}); run signoff gate again"
            raise UsageError(message) from error

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write ``run.json`` with the digest of every file, then point ``latest`` here."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file() and path.name != _MANIFEST)
        digests = {path.relative_to(self.path).as_posix(): digest_file(path) for path in files}
        self.write_json(_MANIFEST, {**manifest, "files": digests, "complete": True})
        _point(self.path.parent / "latest", self.path.name)


def _point(link: Path, target: str) -> None:
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    os.symlink(target, fresh)
    fresh.replace(link)


def open_run(name: str, reports: Path) -> RunFolder:
    """The run folder called ``name`` (a path, an id or 'latest'); UsageError when it is not whole."""
    path = Path(name) if Path(name).is_dir() else reports / name
    if not path.is_dir():
        message = f"no run {name!r} in {reports}; run signoff gate first"
        raise UsageError(message)
    folder = RunFolder(path.resolve())
    if not (folder.path / _MANIFEST).is_file():
        message = f"run {name!r} has no {_MANIFEST}: it was interrupted; run signoff gate again, the caches keep its work"
        raise UsageError(message)
    return RunFolder(folder.path, folder.read_json(_MANIFEST))
