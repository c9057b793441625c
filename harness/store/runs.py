"""Run folders: what one execution produced, whole once its manifest is there."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from harness.errors import UsageError
from harness.store.digests import digest_file
from harness.store.files import TEMPORARY, room_for, write_atomic
from harness.store.lines import MOVE_RUN, JsonLines

_MANIFEST = "run.json"
_LATEST = "latest"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
        """A new, empty run folder; UsageError when ``run_id`` is taken or is no plain file name."""
        name = new_run_id() if run_id is None else run_id
        if not _RUN_ID.fullmatch(name) or name == _LATEST:
            message = f"run id {name!r} must be letters, digits, '.', '_', '-', and not {_LATEST!r}"
            raise UsageError(message)
        with room_for(reports / name, MOVE_RUN):
            try:
                (reports / name).mkdir(parents=True)
            except FileExistsError as error:
                message = f"{reports / name} exists already; choose another run id"
                raise UsageError(message) from error
        return cls(reports / name)

    def measurements(self, stage: str) -> Path:
        """The file of a stage's rows; its folder exists."""
        return self._folder("measurements") / f"{stage}.jsonl"

    def artifacts(self, stage: str) -> Path:
        """The folder for what a stage keeps beside its rows."""
        return self._folder(f"artifacts/{stage}")

    def _folder(self, name: str) -> Path:
        folder = self.path / name
        with room_for(folder, MOVE_RUN):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def jsonl(self, name: str) -> JsonLines:
        """A writer for the JSON-lines file ``name`` below the folder."""
        return JsonLines(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file whole or not at all."""
        write_atomic(self.path / name, orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str), MOVE_RUN)

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
        """Write ``run.json`` with the sha256 of every file, then point ``latest`` here."""
        self.write_json(_MANIFEST, {**manifest, "files": self._digests(), "complete": True})
        _point(self.path.parent / _LATEST, self.path.name)

    def altered(self) -> tuple[str, ...]:
        """The files that ``finish`` recorded and that are now gone or have other bytes, sorted."""
        now = self._digests()
        return tuple(sorted(name for name, digest in self.manifest.get("files", {}).items() if now.get(name) != digest))

    def _digests(self) -> dict[str, str]:
        found = sorted(path for path in self.path.rglob("*") if path.is_file() and path != self.path / _MANIFEST)
        # A kill may have left a file that never got its name.
        named = [path for path in found if not (path.name.startswith(".") and path.name.endswith(TEMPORARY))]
        return {path.relative_to(self.path).as_posix(): digest_file(path) for path in named}


def new_run_id() -> str:
    """UTC time to the millisecond and a random tail."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


def _point(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        fresh.symlink_to(target)
        fresh.replace(link)
    except OSError:
        # Some shared folders and mounted disks know no symbolic links.
        fresh.unlink(missing_ok=True)
        write_atomic(link, f"{target}\n".encode(), MOVE_RUN)


def open_run(name: str | Path, reports: Path) -> RunFolder:
    """The run folder called ``name`` (an id, 'latest' or a path); UsageError when it is not whole."""
    folder = RunFolder(_located(name, reports))
    if not (folder.path / _MANIFEST).is_file():
        message = f"run {str(name)!r} has no {_MANIFEST}: it was cut off; run signoff gate again, caches keep its work"
        raise UsageError(message)
    manifest = folder.read_json(_MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("complete") is not True:
        message = f"{folder.path / _MANIFEST} does not say 'complete': true; run signoff gate again"
        raise UsageError(message)
    return RunFolder(folder.path, manifest)


def _located(name: str | Path, reports: Path) -> Path:
    path = reports / name
    if str(name) == _LATEST and path.is_file():
        path = reports / path.read_text(encoding="utf-8").strip()
    if not str(name) or not (path.is_dir() or Path(name).is_dir()):
        message = f"no run {str(name)!r} in {reports}; run signoff gate first"
        raise UsageError(message)
    return (path if path.is_dir() else Path(name)).resolve()
