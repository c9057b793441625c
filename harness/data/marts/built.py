"""A built mart as others use it, and whether it is still what its files would make."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from harness.data.marts.privacy import anonymiser_digest
from harness.errors import UsageError
from harness.spec.marts import Mart, audits_of, load_mart, steps_of
from harness.store import digest_bytes, digest_file, digest_of, lf_text

BUILD, MANIFEST, TIMINGS = "build", "manifest.json", "timings.json"
REVISION = 2
"""Raised when the same files would make another mart."""


@dataclass(frozen=True)
class BuiltMart:
    """A mart whose files are whole and belong together.

    ``digest`` is sha256 over the canonical rows of all splits. ``manifest`` is ``build/manifest.json`` with what
    depends on time: ``seconds`` and ``freshness``, each with value, bound and status (pass, warn, error).
    """

    mart: Mart
    folder: Path
    digest: str
    counts: Mapping[str, int]
    manifest: Mapping[str, Any]

    def split(self, name: str) -> Path:
        """The Parquet file of split ``name``; UsageError if there is none."""
        if name not in self.counts:
            have = ", ".join(map(repr, self.counts))
            raise UsageError(f"mart {self.mart.name!r} has no split {name!r}; it has {have}")
        return self.folder / f"{name}.parquet"

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of split ``name`` in the order of their key."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.ParquetFile(self.split(name)).read().to_pylist()
        return rows


def mart_folder(root: Path, name: str) -> tuple[Path, Mart]:
    """The folder of mart ``name`` and its file; UsageError with everything that is wrong."""
    folder = root / "data" / name
    if not (folder / "mart.yaml").is_file():
        have = ", ".join(sorted(path.parent.name for path in root.glob("data/*/mart.yaml"))) or "none"
        raise UsageError(f"there is no mart {name!r} (data/{name}/mart.yaml); there are: {have}")
    mart, problems = load_mart(folder, f"data/{name}")
    if mart is None:
        raise UsageError.of(problems)
    return folder, mart


def inputs_of(folder: Path, mart: Mart, sources: Mapping[str, str]) -> dict[str, Any]:
    """Digests of all that decides what the mart comes out as; ``sources`` are those of the sources' files."""
    files = [*steps_of(folder), *audits_of(folder), *(folder / name for name in mart.functions)]
    return {
        "revision": REVISION,
        "mart": digest_of(mart.model_dump(mode="json")),
        "files": {file.relative_to(folder).as_posix(): text_digest(file) for file in files},
        "sources": dict(sources),
        "anonymiser": anonymiser_digest() if mart.anonymise else None,
    }


def text_digest(file: Path) -> str:
    """sha256 of a text whose line ends do not count."""
    return digest_bytes(lf_text(file.read_text(encoding="utf-8")).encode())


def open_mart(root: Path, name: str) -> BuiltMart:
    """The mart as it was built last.

    UsageError if it is not built, not whole, or its files changed since. What lies outside the repository is not
    asked again.
    """
    folder, mart = mart_folder(root, name)
    found = read_built(folder, mart)
    if found is not None:
        recorded = found.manifest["inputs"]
        sources = {**recorded["sources"], **_local_sources(folder, mart)}
        if inputs_of(folder, mart, sources) == recorded:
            return found
    message = (
        f"mart {name!r} is not built (or its sources or SQL changed since); build it with: signoff data build {name}"
    )
    raise UsageError(message)


def _local_sources(folder: Path, mart: Mart) -> dict[str, str]:
    local = {
        name: folder / source.origin.removeprefix("path:")
        for name, source in mart.sources.items()
        if source.origin.startswith("path:")
    }
    return {name: digest_file(path) if path.is_file() else "" for name, path in local.items()}


def read_built(folder: Path, mart: Mart) -> BuiltMart | None:
    """What lies in ``folder/build``; None if a file of it is missing or not the one that was written."""
    build = folder / BUILD
    try:
        manifest = orjson.loads((build / MANIFEST).read_bytes())
        timings = orjson.loads((build / TIMINGS).read_bytes())
        if any(digest_file(build / file) != digest for file, digest in manifest["files"].items()):
            return None
    except (OSError, orjson.JSONDecodeError, KeyError):
        return None
    measured = {"freshness": freshness(mart, manifest, timings), "seconds": seconds(mart, timings)}
    counts = {
        name: manifest["counts"][name] for name in (*mart.splits, *manifest["counts"]) if name in manifest["counts"]
    }
    return BuiltMart(mart, build, manifest["digest"], counts, {**manifest, **timings, **measured})


def freshness(mart: Mart, manifest: Mapping[str, Any], timings: Mapping[str, Any]) -> dict[str, Any]:
    """How old each source is now, in seconds; those whose file promises nothing are left out."""
    found: dict[str, dict[str, Any]] = {}
    for name, source in mart.sources.items():
        if source.freshness is None:
            continue
        promise = source.freshness
        newest = manifest["newest"].get(name) if promise.loaded_at_field else timings["modified"].get(name)
        if newest is None:
            found[name] = {"status": "error", "value": None, "reason": "nothing says how old it is"}
            continue
        age = max(0.0, time.time() - datetime.fromisoformat(newest).replace(tzinfo=UTC).timestamp())
        bounds = {"warn_after": promise.warn_after, "error_after": promise.error_after}
        late = [key for key, within in bounds.items() if within and age > within.seconds]
        status = "error" if "error_after" in late else "warn" if late else "pass"
        limits = {key: within.seconds for key, within in bounds.items() if within}
        found[name] = {"status": status, "value": age, **limits}
    return found


def seconds(mart: Mart, timings: Mapping[str, Any]) -> dict[str, Any]:
    """What a build of every step takes, in seconds, beside what it may take."""
    value = sum(step["seconds"] for step in timings["steps"])
    late = mart.max_seconds is not None and value > mart.max_seconds
    return {"status": "error" if late else "pass", "value": value, "bound": mart.max_seconds}
