"""Laying out one forward pass: which tokens of which requests are fed, and where logits are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.serve.engine.packed import Chunk, Packed
from harness.serve.engine.rows import Row

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class StepPlan:
    """``tokens`` and ``positions`` are ``[fed, 1]``; ``places`` are the fed tokens whose logits are wanted.

    ``feeds`` says how many tokens each request advances; ``reads`` which of ``places`` belong to a request
    whose prompt is complete.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    packed: Packed
    feeds: tuple[tuple[Row, int], ...]
    reads: tuple[tuple[Row, slice], ...]


def plan_step(rows: Sequence[Row], data: torch.Tensor, budget: int) -> StepPlan:
    """Feed every row that waits for one token, then pieces of prompts, oldest first, up to ``budget`` tokens."""
    import torch

    layout = _Layout(data)
    singles = sorted((row for row in rows if row.pending == 1 and not _branches(row)), key=lambda row: row.slot)
    for row in singles:
        layout.feed(row, 1, alone=True)
    mask = _singles_mask(singles, data)
    for row in rows:
        if row in singles:
            continue
        count = min(row.pending, budget)
        if count > 0:
            budget -= count
            layout.feed(row, count, alone=False)
    return StepPlan(
        tokens=torch.tensor(layout.tokens).unsqueeze(1),
        positions=torch.tensor(layout.positions).unsqueeze(1),
        places=torch.tensor(layout.places, dtype=torch.long),
        packed=Packed(
            data=data,
            slots=torch.tensor([row.slot for row in singles], dtype=torch.long),
            places=torch.tensor([row.fed for row in singles], dtype=torch.long),
            mask=mask,
            chunks=tuple(layout.chunks),
        ),
        feeds=tuple(layout.feeds),
        reads=tuple(layout.reads),
    )


def _branches(row: Row) -> int:
    """How many option tokens follow the prompt of this row."""
    return len(row.answer.tree.tokens) if row.answer.tree else 0


class _Layout:
    """The lists that a plan is made of, filled one row at a time."""

    def __init__(self, data: torch.Tensor) -> None:
        self._data = data
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.places: list[int] = []
        self.chunks: list[Chunk] = []
        self.feeds: list[tuple[Row, int]] = []
        self.reads: list[tuple[Row, slice]] = []

    def feed(self, row: Row, count: int, alone: bool) -> None:
        start, past = len(self.tokens), row.fed
        self.tokens.extend(row.tokens[past : past + count])
        self.positions.extend(range(past, past + count))
        last = len(self.tokens) - 1
        complete = count == row.pending
        branches = 0
        if complete and row.answer.tree is not None:
            branches = _branches(row)
            self.tokens.extend(row.answer.tree.tokens)
            self.positions.extend(past + count + depth for depth in row.answer.tree.depths)
        if not alone:
            mask = _chunk_mask(row, count, branches, self._data.dtype)
            self.chunks.append(Chunk(start, len(self.tokens), row.slot, past, mask))
        self.feeds.append((row, count))
        if complete:
            first = len(self.places)
            self.places.extend(range(last, last + 1 + branches))
            self.reads.append((row, slice(first, first + 1 + branches)))


def _singles_mask(singles: Sequence[Row], data: torch.Tensor) -> torch.Tensor | None:
    """``[max slot + 1, 1, longest]``: zero over each row's history, the lowest number elsewhere."""
    import torch

    if not singles:
        return None
    lengths = torch.zeros(max(row.slot for row in singles) + 1, dtype=torch.long)
    for row in singles:
        lengths[row.slot] = row.fed + 1
    columns = torch.arange(int(lengths.max()))
    hidden = columns[None, :] >= lengths[:, None]
    # The lowest finite number, not minus infinity: a slot without a query here would give 0/0.
    return torch.zeros(hidden.shape, dtype=data.dtype).masked_fill_(hidden, torch.finfo(data.dtype).min).unsqueeze(1)


def _chunk_mask(row: Row, count: int, branches: int, dtype: torch.dtype) -> torch.Tensor:
    """``[count + branches, past + count + branches]``: causal, and each branch sees its own ancestors only."""
    import torch

    width = row.fed + count + branches
    seen = torch.ones(count + branches, width, dtype=torch.bool).tril_(row.fed)
    if branches and row.answer.tree is not None:
        seen[count:, row.fed + count :] = row.answer.tree.mask()
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
