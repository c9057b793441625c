"""Attention over a packed batch: every token is a row of its own, and only attention knows which belong together.

A causal language model treats tokens alone everywhere but in attention. So one forward pass can hold decode steps
and prompts of any length side by side without a single padding token, as paged engines do (Kwon et al. 2023,
"Efficient Memory Management for Large Language Model Serving with PagedAttention", section 4), and prompts can be
fed in pieces between decode steps (Agrawal et al. 2023, "SARATHI").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "signoff_packed"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Several new tokens of one slot: ``start:end`` in the batch, after ``past`` tokens that the slot holds.

    ``data`` is the slot, ``[layers, 2, heads, capacity, head size]``; ``mask`` is additive,
    ``[end - start, past + end - start]``.
    """

    start: int
    end: int
    data: torch.Tensor
    past: int
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Singles:
    """One new token for each of several slots of one bucket: ``start:end`` in the batch.

    ``data`` is the bucket; ``slots`` (ascending) and ``places``, both ``[end - start]``, say where each token's keys
    go; ``mask`` is additive, ``[max slot + 1, 1, longest history]``.
    """

    start: int
    end: int
    data: torch.Tensor
    slots: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """Where each token of a batch belongs."""

    singles: tuple[Singles, ...]
    chunks: tuple[Chunk, ...]


def register() -> None:
    """Make the attention known to transformers under ``NAME``; repeated calls change nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    packed: Packed | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of ``query`` ``[tokens, heads, 1, head size]`` over each token's own history.

    Writes the new keys and values into the slots first. Returns ``[tokens, 1, heads, head size]``.
    """
    if packed is None:
        raise ValueError("packed attention was called without its plan: the model does not pass keyword arguments on")
    layer = module.layer_idx
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = query.new_empty(query.shape[0], query.shape[1], query.shape[3])
    for group in packed.singles:
        store, part = group.data[layer], slice(group.start, group.end)
        store[0][group.slots, :, group.places] = key[part, :, 0]
        store[1][group.slots, :, group.places] = value[part, :, 0]
        out[part] = _singles(query[part, :, 0], store, group, scale)
    for chunk in packed.chunks:
        store, part = chunk.data[layer], slice(chunk.start, chunk.end)
        end = chunk.past + chunk.end - chunk.start
        store[0, :, chunk.past : end] = key[part, :, 0].transpose(0, 1)
        store[1, :, chunk.past : end] = value[part, :, 0].transpose(0, 1)
        out[part] = _chunk(query[part, :, 0], store[:, :, :end], chunk.mask, scale)
    return out.unsqueeze(1), None


def _singles(query: torch.Tensor, store: torch.Tensor, group: Singles, scale: float) -> torch.Tensor:
    """One query per slot, all at once: ``[singles, heads, head size]`` in and out."""
    import torch

    used, _, width = group.mask.shape
    count, heads, size = query.shape
    kv_heads = store.shape[2]
    # Slots that feed a chunk in this pass stand between the others; a wasted row is cheaper than a gather.
    spread = query if used == count else query.new_zeros(used, heads, size).index_copy_(0, group.slots, query)
    grouped = spread.reshape(used * kv_heads, heads // kv_heads, size)
    keys = store[0, :used, :, :width].reshape(used * kv_heads, width, size)
    values = store[1, :used, :, :width].reshape(used * kv_heads, width, size)
    scores = torch.bmm(grouped, keys.transpose(1, 2)).mul_(scale).view(used, heads, width)
    weights = scores.add_(group.mask).softmax(-1).view(used * kv_heads, heads // kv_heads, width)
    found = torch.bmm(weights, values).view(used, heads, size)
    return found if used == count else found.index_select(0, group.slots)


def _chunk(query: torch.Tensor, store: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Several queries of one slot: ``[tokens, heads, head size]`` in and out."""
    from torch.nn.functional import scaled_dot_product_attention

    tokens, heads, size = query.shape
    kv_heads = store.shape[1]
    group = heads // kv_heads
    # The query heads that share a key head become further queries of it, so keys are never repeated.
    grouped = query.transpose(0, 1).reshape(1, kv_heads, group * tokens, size)
    wide = mask.repeat(group, 1)
    found = scaled_dot_product_attention(grouped, store[:1], store[1:], attn_mask=wide, scale=scale)
    return found.reshape(heads, tokens, size).transpose(0, 1)
