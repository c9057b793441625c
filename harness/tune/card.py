"""The model card of an adapter version, in the Hugging Face form: a pure function of manifest and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.spec.adapters import AdapterManifest
from harness.spec.recipes import Recipe

if TYPE_CHECKING:
    from harness.tune.build import Inputs

_ARMS = {"adapter": "with the adapter", "bare": "without it"}


def model_card(manifest: AdapterManifest, recipe: Recipe, inputs: Inputs) -> str:
    """Front matter (base model, relation, data, licence, measured results) and the text for people."""
    import yaml

    front = {
        "base_model": manifest.base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "license": recipe.licence.lower(),
        "datasets": [recipe.mart],
        "language": ["en"],
        "tags": ["lora" if recipe.method.kind == "lora" else recipe.method.kind, "signoff"],
        "model-index": _model_index(manifest, recipe),
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        f"# {recipe.key}",
        recipe.description,
        _results(manifest, recipe),
        _training(manifest, recipe),
    ]
    parts += [_made_from(manifest, inputs), _limits(recipe)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _model_index(manifest: AdapterManifest, recipe: Recipe) -> list[dict[str, Any]]:
    scores = _scores(manifest).get("adapter", {})
    metrics = [
        {"type": "accuracy", "name": name, "value": round(scores[name]["share"], 4)}
        for name in _measures(scores, recipe)
    ]
    dataset = {"name": recipe.mart, "type": recipe.mart, "split": "test"}
    task = {"type": "text-generation"}
    return [{"name": recipe.key, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]


def _scores(manifest: AdapterManifest) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    found: Mapping[str, Mapping[str, Mapping[str, float]]] = manifest.provenance.get("results", {})
    return found


def _measures(scores: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """The measures as people read them (the whole answer, its columns, its form), however a manifest orders them."""
    order = {name: place for place, name in enumerate(("exact", *recipe.rows.columns, "valid"))}
    return sorted(scores, key=lambda name: (order.get(name, len(order)), name))


def _results(manifest: AdapterManifest, recipe: Recipe) -> str:
    scores = _scores(manifest)
    if not scores:
        return ""
    arms = [arm for arm in _ARMS if arm in scores]
    lines = ["## What it was seen to answer", ""]
    lines += [
        "Share of rows of the mart's test split that were answered right (95 % interval, Wilson); no row of it was"
    ]
    lines += ["trained on or decided on. The bare model got the same prompt.", ""]
    lines += [f"| measure | rows | {' | '.join(_ARMS[arm] for arm in arms)} |", f"|---|---|{'---|' * len(arms)}"]
    for name in _measures(scores[arms[0]], recipe):
        cells = [_share(scores[arm][name]) for arm in arms]
        lines.append(f"| {name} | {scores[arms[0]][name]['n']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(found: Mapping[str, float]) -> str:
    return f"{100 * found['share']:.1f} % [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _training(manifest: AdapterManifest, recipe: Recipe) -> str:
    figures, where = manifest.provenance["training"], manifest.provenance["environment"]
    method = (
        f"LoRA of rank {recipe.method.rank}, alpha {recipe.method.alpha:g}" if recipe.method.kind == "lora" else "IA3"
    )
    packages = ", ".join(f"{name} {version}" for name, version in sorted(where["packages"].items()))
    rows = (
        f"{method}; {figures['rows']} rows, {figures['tokens']:,} tokens of which {figures['tokens_trained']:,} are "
        f"learned; {figures['epochs']:g} epochs, {figures['steps']} steps, learning rate "
        f"{recipe.training.learning_rate:g}, seed {where['seed']}. {figures['rows_truncated']} rows were cut and "
        f"{figures['rows_untrained']} had nothing to learn."
    )
    losses = (
        f"Loss {figures['first_loss']:.3f} at the first step, {figures['last_loss']:.3f} at the last, "
        f"{figures['validation_loss']:.3f} on the validation split."
    )
    machine = (
        f"{figures['seconds']:.0f} s on {where['device']} ({where['cpu']}, {where['threads']} threads, "
        f"{where['processes']} processes, {where['precision']}). {packages}."
    )
    return "\n".join(["## How it was trained", "", rows, losses, machine])


def _made_from(manifest: AdapterManifest, inputs: Inputs) -> str:
    made = manifest.provenance
    rows = ", ".join(f"{name} {count}" for name, count in inputs.mart.counts.items())
    lines = [
        "## What it was made from",
        "",
        f"| part | name | digest |\n|---|---|---|\n| base | {manifest.base} | `{manifest.base_sha256[:16]}` |",
        f"| mart | {made['mart']} ({rows} rows) | `{made['mart_digest'][:16]}` |",
        f"| prompt | {made['prompt']} | `{made['prompt_digest'][:16]}` |",
        f"| recipe | {manifest.name} | `{made['recipe_digest'][:16]}` |",
    ]
    if made.get("parent"):
        lines.append(f"| parent | {made['parent']} | `{made['parent_digest'][:16]}` |")
    lines += ["", "`manifest.json` holds the whole digests. The adapter fits exactly this base, tokenizer and chat"]
    lines += ["template; the gateway refuses it on any other."]
    return "\n".join(lines)


def _limits(recipe: Recipe) -> str:
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in recipe.limits)]) if recipe.limits else ""
