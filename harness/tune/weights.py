"""Adapter files: bf16 weights and a configuration whose bytes depend on what it says alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import UsageError
from harness.spec.adapters import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import torch


def write_adapter(folder: Path, model: Any, base: str) -> None:
    """Write weights and configuration of a PEFT ``model``; ``base`` is the model's name in this repository.

    PEFT itself writes the set of target modules in an order that changes from process to process.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    tensors: Mapping[str, torch.Tensor] = get_peft_model_state_dict(model)
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensors[name].detach().to(torch.bfloat16).contiguous() for name in sorted(tensors)}
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base, "revision": None, "inference_mode": True}
    (folder / CONFIG).write_bytes(orjson.dumps(_plain(config), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _plain(value: Any) -> Any:
    """Sets in order and enumerations by value."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return getattr(value, "value", value)


def take_parent(model: Any, parent: Path) -> None:
    """Begin with the weights of the adapter in ``parent``; UsageError when their shapes are others."""
    import torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    tensors = load_file(parent / WEIGHTS)
    wanted = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(model).items()}
    if wanted != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        message = f"parent {parent} has other layers or another rank than the recipe; give both the same method"
        raise UsageError(message)
    set_peft_model_state_dict(model, {name: tensor.to(torch.float32) for name, tensor in tensors.items()})


def liveness(model: Any, batch: Mapping[str, torch.Tensor]) -> float:
    """The largest difference that the adapter makes to a logit of ``batch``; 0 for one that does nothing."""
    import torch

    model.eval()
    with torch.no_grad():
        on = model(input_ids=batch["input_ids"], use_cache=False).logits[:, -1].float()
        with model.disable_adapter():
            off = model(input_ids=batch["input_ids"], use_cache=False).logits[:, -1].float()
    return float((on - off).abs().max())
