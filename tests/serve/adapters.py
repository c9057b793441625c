"""Adapters over the tiny model, written by PEFT itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.serve.engine.tiny import tiny_model


def save_adapter(
    out: Path, *, seed: int, rank: int = 4, modules: Sequence[str] | str = "all-linear", rslora: bool = False
) -> Path:
    """A LoRA adapter whose weights depend on ``seed`` alone and which changes the tiny model's answers clearly."""
    import torch
    from peft import LoraConfig, get_peft_model

    wanted = modules if isinstance(modules, str) else list(modules)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(
            tiny_model(),
            LoraConfig(r=rank, lora_alpha=8, target_modules=wanted, use_rslora=rslora, task_type="CAUSAL_LM"),
        )
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        model.save_pretrained(str(out))
    return out
