"""Weights that are too large for git, in a store that fsspec reaches, by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from harness.errors import SignoffError, UsageError
from harness.spec.adapters import MANIFEST, WEIGHTS, AdapterManifest, load_adapter, version_folders
from harness.store import digest_file
from harness.store.files import room_for

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """One version whose weights lie in a store; ``fresh`` is false when they were here already."""

    key: str
    url: str
    bytes: int
    fresh: bool


def put_weights(store: str, file: Path, sha256: str) -> str:
    """Copy ``file`` to ``<store>/<sha256>.safetensors`` and return its URL; SignoffError when the store refuses.

    What is there already is left alone unless a broken transfer left a part of it: its name says what it is.
    """
    url = f"{store.rstrip('/')}/{sha256}.safetensors"
    with _reaching(url), room_for(file):
        system, path = _system(url)
        if not system.exists(path) or system.size(path) != file.stat().st_size:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), path)
    return url


def fetch_adapters(root: Path) -> list[Fetched]:
    """Bring the weights of every version whose manifest names a store into the tree, compared with the manifest.

    Raises UsageError for a version that is wrong otherwise and a full disk, SignoffError for a store that cannot be
    read or holds other bytes; what was in the tree is then left as it was.
    """
    found = []
    for folder in version_folders(root):
        file = folder / MANIFEST
        url = orjson.loads(file.read_bytes()).get("weights_url") if file.is_file() else None
        if url:
            found.append(_fetched(folder, folder.relative_to(root).as_posix(), url))
    return found


def _fetched(folder: Path, shown: str, url: str) -> Fetched:
    manifest = AdapterManifest.model_validate(orjson.loads((folder / MANIFEST).read_bytes()))
    key, weights = f"{manifest.name}/{manifest.version}", folder / WEIGHTS
    fresh = not weights.is_file() or digest_file(weights) != manifest.weights_sha256
    if fresh:
        _download(url, weights, manifest.weights_sha256)
    version, problems = load_adapter(folder, shown)
    if version is None:
        raise UsageError.of(problems)
    return Fetched(key, url, weights.stat().st_size, fresh)


def _download(url: str, out: Path, sha256: str) -> None:
    scratch = out.with_name(f".{out.name}.part")
    digest = hashlib.sha256()
    try:
        with room_for(out, "put the repository on a larger disk"), scratch.open("wb") as into, _reaching(url):
            system, path = _system(url)
            for block in _blocks(system.open(path, "rb")):
                digest.update(block)
                into.write(block)
        if digest.hexdigest() != sha256:
            found = digest.hexdigest()
            raise SignoffError(f"{url} has sha256 {found[:12]}…, the manifest says {sha256[:12]}…; nothing was kept")
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    with stream:
        while block := stream.read(_BLOCK):
            yield block


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(f"{url} needs fsspec: pip install 'signoff[data]'") from error
    system, path = fsspec.core.url_to_fs(url)
    return system, str(path)


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Stores fail with whatever exception their client has; a full disk here is not theirs."""
    try:
        yield
    except (SignoffError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise SignoffError(f"{url} is not there; was it put into the store by the build?") from error
        raise
    except ImportError as error:
        raise UsageError(f"{url}: {error}") from error
    except Exception as error:
        raise SignoffError(f"{url} cannot be reached: {error}") from error
