"""Adapter versions: built LoRA weights with a manifest that binds them to one base model, tokenizer and template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field, ValidationError

from harness.errors import Problem
from harness.spec.base import Semver, Sha256, Slug, Spec
from harness.spec.models import Model
from harness.store import digest_file, digest_of

WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "manifest.json"
CARD = "README.md"
ADAPTERS = "models/adapters"
_LFS = b"version https://git-lfs.github.com/spec/v1"


class AdapterManifest(Spec):
    """``models/adapters/<name>/<version>/manifest.json``.

    What an adapter must match, or it is not served: ``base`` with the sha256 of its file, ``tokenizer_template`` (the
    digest of tokenizer and chat template that the engine states), weights and configuration. What it was made from is
    ``provenance``: shown, never required. ``weights_url`` is where weights that do not lie in git are fetched from.
    """

    name: Slug
    version: Semver
    base: Slug
    base_sha256: Sha256
    tokenizer_template: Sha256
    weights_sha256: Sha256
    config_sha256: Sha256
    weights_url: str | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class AdapterVersion:
    """One built version of an adapter, its files verified against the manifest."""

    manifest: AdapterManifest
    folder: Path

    @property
    def key(self) -> str:
        """How ``app.yaml`` names it: ``support-triage/1.0.0``."""
        return f"{self.manifest.name}/{self.manifest.version}"

    @cached_property
    def digest(self) -> str:
        """sha256 over all that decides what it does: weights, configuration, base, tokenizer and template."""
        return digest_of(self.manifest.model_dump(exclude={"name", "version", "base", "weights_url", "provenance"}))

    @property
    def served_name(self) -> str:
        """The gateway's name for exactly this version."""
        return adapter_name(self.digest)


def adapter_name(digest: str) -> str:
    """What the gateway calls the adapter with this digest."""
    return f"adapter@{digest[:12]}"


def version_folders(root: Path) -> list[Path]:
    """The folder of every adapter version of the tree at ``root``, whole or not, by name and version."""
    # A build that was killed leaves a folder whose name begins with a dot.
    return sorted(path for path in root.glob(f"{ADAPTERS}/*/*") if path.is_dir() and not path.name.startswith("."))


def load_adapter(folder: Path, shown: str) -> tuple[AdapterVersion | None, list[Problem]]:
    """The adapter version in ``folder``, or what is wrong: every file is read and compared with the manifest."""
    path = f"{shown}/{MANIFEST}"
    try:
        manifest = AdapterManifest.model_validate(orjson.loads((folder / MANIFEST).read_bytes()))
    except FileNotFoundError:
        return None, [Problem(path, None, "is missing: a version whose build did not finish; build it again")]
    except orjson.JSONDecodeError as error:
        return None, [Problem(path, 1, f"is not JSON: {error}")]
    except ValidationError as error:
        return None, [
            Problem(path, 1, f"{'.'.join(map(str, item['loc'])) or 'the manifest'}: {item['msg']}")
            for item in error.errors()
        ]
    problems: list[Problem] = []
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        wrong = f"it is of {manifest.name}/{manifest.version}, but lies in {folder.parent.name}/{folder.name}"
        problems.append(Problem(path, 1, wrong))
    for name, stated in ((WEIGHTS, manifest.weights_sha256), (CONFIG, manifest.config_sha256)):
        if not (folder / name).is_file():
            mend = f"it lies at {manifest.weights_url}; fetch it with: signoff adapters fetch"
            mend = mend if name == WEIGHTS and manifest.weights_url else "restore it or build the adapter again"
            problems.append(Problem(f"{shown}/{name}", None, f"is missing; {mend}"))
        elif (found := digest_file(folder / name)) != stated and _pointer(folder / name):
            problems.append(Problem(f"{shown}/{name}", None, "lies in Git LFS and was not fetched; run: git lfs pull"))
        elif found != stated:
            wrong = f"has sha256 {found[:12]}…, the manifest says {stated[:12]}…; restore it or build it again"
            problems.append(Problem(f"{shown}/{name}", None, wrong))
    return (None, problems) if problems else (AdapterVersion(manifest, folder), [])


def _pointer(file: Path) -> bool:
    """Whether Git LFS left its pointer in the place of a file."""
    with file.open("rb") as stream:
        return stream.read(len(_LFS)) == _LFS


def unfit(adapter: AdapterVersion, model: Model) -> str | None:
    """Why ``adapter`` cannot be served on ``model``; None when it was trained on exactly this model."""
    manifest = adapter.manifest
    if model.sha256 == manifest.base_sha256:
        return None
    return (
        f"adapter {adapter.key} was trained on {manifest.base} (sha256 {manifest.base_sha256[:12]}…); "
        f"model {model.name!r} is {(model.sha256 or model.endpoint)[:12]}…"
    )
