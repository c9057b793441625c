"""An adapter that the engine cannot serve beside its base becomes part of a copy of the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import SignoffError
from harness.serve.engine.hub import ENGINE_REVISION, model_folder
from harness.spec.adapters import WEIGHTS
from harness.spec.models import Model
from harness.store import convert_once, digest_file, digest_of


def merged_model(base: Model, adapter: Path, root: Path, cache: Path) -> Model:
    """The base with the PEFT adapter in the folder ``adapter`` merged into its weights, as a model of its own.

    It lies where the engine looks for the converted bytes of a model, so it is served like any other.
    """
    made_of = {"merged": digest_file(adapter / WEIGHTS), "base": base.sha256, "dtype": base.dtype}
    sha256 = digest_of(made_of)
    model = base.model_copy(update={"name": f"{base.name}-{sha256[:8]}", "sha256": sha256, "source": "path:merged"})
    # A copy keeps what its original has computed, the digest too.
    model = Model.model_validate(model.model_dump(mode="json"))

    def build(out: Path) -> None:
        _merge(model_folder(base, root, cache), adapter, out, base.dtype)

    convert_once(f"{model.name}-{sha256[:16]}-r{ENGINE_REVISION}", cache, build)
    return model


def _merge(base: Path, adapter: Path, out: Path, dtype: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), local_files_only=True)
        before = {name: weight.clone() for name, weight in model.named_parameters()}
        merged: Any = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise SignoffError(f"adapter {adapter} cannot be merged into {base}: {problem}") from problem
    after = dict(merged.named_parameters())
    if all(name in after and torch.equal(weight, after[name]) for name, weight in before.items()):
        # PEFT only warns of an adapter none of whose keys fit.
        raise SignoffError(f"adapter {adapter} changes nothing when it is merged into {base}")
    merged.save_pretrained(out)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(out)
