"""Every built adapter version against its manifest, its base and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.serve.engine.hub import model_folder
from harness.spec.adapters import WEIGHTS, AdapterVersion, load_adapter, unfit, version_folders
from harness.spec.models import Model
from harness.spec.repository import Shared, load_shared

IN_GIT = 5_000_000
"""Weights of more bytes belong into Git LFS or a store."""


@dataclass(frozen=True, slots=True)
class Verified:
    """One version: ``wrong`` must be mended before it is served; ``moved`` and ``notes`` are only told."""

    key: str
    bytes: int
    wrong: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify_adapters(root: Path, cache: Path) -> list[Verified]:
    """Every ``models/adapters/<name>/<version>/`` of the tree, by name and version.

    Files are compared with the manifest, the manifest's base, tokenizer and chat template with the model of the tree,
    and the weights must be finite and change something. Raises UsageError when models or recipes cannot be read.
    """
    shared = load_shared(root)
    templates: dict[str, str] = {}
    return [_verified(folder, root, cache, shared, templates) for folder in version_folders(root)]


def _verified(folder: Path, root: Path, cache: Path, shared: Shared, templates: dict[str, str]) -> Verified:
    key = f"{folder.parent.name}/{folder.name}"
    shown = folder.relative_to(root).as_posix()
    version, problems = load_adapter(folder, shown)
    size = (folder / WEIGHTS).stat().st_size if (folder / WEIGHTS).is_file() else 0
    if version is None:
        return Verified(key, size, tuple(map(str, problems)))
    wrong = _base(version, root, cache, shared.models, templates) or _weights(folder)
    large = size > IN_GIT and not version.manifest.weights_url
    notes = (f"{size:,} bytes of weights: more than {IN_GIT:,} belong into Git LFS or a store",) if large else ()
    return Verified(key, size, tuple(wrong), tuple(_moved(version, shared)), notes)


def _base(
    version: AdapterVersion, root: Path, cache: Path, models: Mapping[str, Model], templates: dict[str, str]
) -> list[str]:
    model = models.get(version.manifest.base)
    if model is None:
        return [f"was trained on model {version.manifest.base!r}, which the tree does not have"]
    if why := unfit(version, model):
        return [why]
    if model.name not in templates:
        templates[model.name] = _template(model_folder(model, root, cache))
    if templates[model.name] == version.manifest.tokenizer_template:
        return []
    stated = version.manifest.tokenizer_template[:12]
    return [f"was trained with tokenizer and chat template {stated}…; {model.name} has {templates[model.name][:12]}…"]


def _template(folder: Path) -> str:
    from transformers import AutoTokenizer

    from harness.serve.engine.loader import tokenizer_template_digest

    return tokenizer_template_digest(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def _weights(folder: Path) -> list[str]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        return [f"{WEIGHTS} cannot be read: {error}"]
    unreal = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    idle = [name for name, tensor in tensors.items() if ".lora_B." in name and not tensor.any()]
    return [f"{name} holds numbers that are not finite" for name in unreal[:3]] + [
        f"{name} is all zeros, so it changes nothing" for name in idle[:3]
    ]


def _moved(version: AdapterVersion, shared: Shared) -> list[str]:
    """What it was made from that is another thing now; the mart is left to whoever builds it."""
    made, found = version.manifest.provenance, []
    recipe = shared.recipes.get(version.manifest.name)
    if recipe is not None and recipe.version == version.manifest.version and recipe.digest != made.get("recipe_digest"):
        found.append("recipe")
    prompt = shared.prompts.get(str(made.get("prompt")))
    if made.get("prompt") and (prompt is None or prompt.digest != made.get("prompt_digest")):
        found.append("prompt")
    return found
