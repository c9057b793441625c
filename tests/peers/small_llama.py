"""A seeded Llama whose attention heads are as wide as vLLM's CPU kernels want them, and LoRA adapters on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.serve.engine.tiny import tiny_tokenizer


def save_model(folder: Path) -> Any:
    """Write model and tokenizer to ``folder``; returns the transformers model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        # Its smallest kernel; the harness's own tiny model has heads of 8.
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        build: Any = LlamaForCausalLM
        model = build(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def save_adapter(base: Path, folder: Path, *, effect: bool) -> Any:
    """Write a LoRA adapter, with random weights or with the zeros that change nothing; returns base and adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    config = LoraConfig(
        r=8, lora_alpha=32, target_modules=["q_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM",
        init_lora_weights=not effect,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tuned = get_peft_model(LlamaForCausalLM.from_pretrained(base), config).eval()
    tuned.save_pretrained(folder)
    return tuned
