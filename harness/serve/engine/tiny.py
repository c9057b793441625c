"""A tiny model with seeded random weights, for tests and for trying the harness without any download.

It is Llama-shaped (hidden size 32, two layers, four query heads over two key heads) and knows the 256 bytes plus
three special tokens, so every text can be encoded and a token is a byte. Its answers mean nothing, but they are
deterministic, and everything around them (batching, sampling, grammars, adapters) behaves as with a real model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}" + START + "{{ message['role'] }}\n{{ message['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)


def tiny_tokenizer() -> Any:
    """A byte-level tokenizer without merges, with a ChatML template (transformers ``PreTrainedTokenizerFast``)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    build: Any = PreTrainedTokenizerFast
    tokenizer = build(tokenizer_object=core, eos_token=END, pad_token=PAD, additional_special_tokens=[START])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(seed: int = 0, vocabulary: int = 259) -> Any:
    """A ``LlamaForCausalLM`` whose weights depend on ``seed`` alone, wide enough that its logits differ clearly."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=0.4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build: Any = LlamaForCausalLM
        model = build(config)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = None
    return model.eval()


def save_tiny(out: Path, seed: int = 0) -> Path:
    """Write model and tokenizer to the folder ``out`` as ``load_transformers`` reads them; returns ``out``."""
    tokenizer = tiny_tokenizer()
    tiny_model(seed, len(tokenizer)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def tiny_engine(seed: int = 0, limits: EngineLimits | None = None) -> TransformersEngine:
    """A ready engine over the tiny model."""
    from harness.serve.engine.loader import engine_identity
    from harness.serve.engine.transformers_engine import TransformersEngine

    tokenizer = tiny_tokenizer()
    model = tiny_model(seed, len(tokenizer))
    return TransformersEngine(model, tokenizer, engine_identity(model, tokenizer), limits)
