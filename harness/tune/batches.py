"""Batches of rows of nearly equal length, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""The label of tokens that are read and not learned."""
_SHUFFLED = 16
# So many padded tokens go through the model at once: more does not make a CPU faster and costs memory for each token.
CHUNK_TOKENS = 1024


class LengthSampler:
    """Yields the rows' indices so that each ``batch`` of them has nearly equal lengths (Trainer's sampler protocol).

    Rows are shuffled, sorted by length within stretches of sixteen batches, and the batches shuffled: an order that
    every process and a resumed training find again, since it depends on ``seed`` and the epoch alone.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch, self._seed = lengths, batch, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        import numpy as np

        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(len(self._lengths)).tolist()
        stretch = self._batch * _SHUFFLED
        batches: list[list[int]] = []
        for at in range(0, len(order), stretch):
            rows = sorted(order[at : at + stretch], key=lambda row: (self._lengths[row], row))
            batches += [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]
        # A short batch among full ones would shift all that follow it, when batches are cut from this order.
        short = [rows for rows in batches if len(rows) < self._batch]
        full = [rows for rows in batches if len(rows) == self._batch]
        for place in random.permutation(len(full)):
            yield from full[place]
        for rows in short:
            yield from rows


def collate(rows: Sequence[Mapping[str, Any]], padding: int) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``labels``, both ``[rows, longest]``, padded at the right.

    No attention mask: attention is causal, so that no token ever sees the padding behind it.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    tokens = torch.full((len(rows), longest), padding, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for place, row in enumerate(rows):
        ids = torch.as_tensor(row["input_ids"], dtype=torch.long)
        tokens[place, : len(ids)] = ids
        labels[place, len(ids) - row["answer"] : len(ids)] = ids[len(ids) - row["answer"] :]
    return {"input_ids": tokens, "labels": labels}


def chunks(batch: Mapping[str, torch.Tensor], tokens: int = CHUNK_TOKENS) -> list[dict[str, torch.Tensor]]:
    """A batch in parts of at most ``tokens`` padded tokens (at least a row), each cut to its own longest row."""
    rows, longest = batch["input_ids"].shape
    size = max(1, tokens // longest)
    parts = []
    for at in range(0, rows, size):
        labels = batch["labels"][at : at + size]
        used = int((labels != IGNORED).any(0).nonzero().max()) + 1
        parts.append({"input_ids": batch["input_ids"][at : at + size, :used], "labels": labels[:, :used]})
    return parts
