"""Laying out one forward pass: which tokens of which requests are fed, and where logits are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from harness.serve.engine.packed import Chunk, Packed, Singles
from harness.serve.engine.rows import Row

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class StepPlan:
    """``tokens`` and ``positions`` are ``[fed, 1]``; ``places`` are the fed tokens whose logits are wanted.

    ``feeds`` says how many tokens each request advances; ``reads`` which of ``places`` belong to a request
    whose prompt is complete. ``adapters`` are runs of fed tokens, in order: (adapter or None, how many).
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    packed: Packed
    feeds: tuple[tuple[Row, int], ...]
    reads: tuple[tuple[Row, slice], ...]
    adapters: tuple[tuple[str | None, int], ...]


def plan_step(rows: Sequence[Row], budget: int, device: torch.device) -> StepPlan:
    """Feed every row that waits for one token, then pieces of prompts, oldest first, up to ``budget`` tokens."""
    import torch

    layout = _Layout(device)
    alone = [row for row in rows if row.pending == 1 and not _branches(row)]
    alone.sort(key=lambda row: (row.place.bucket.capacity, row.place.slot))
    for _, group in groupby(alone, key=lambda row: row.place.bucket.capacity):
        layout.feed_singles(list(group))
    single = {id(row) for row in alone}
    for row in rows:
        if id(row) in single:
            continue
        count = min(row.pending, budget)
        if count > 0:
            budget -= count
            layout.feed_chunk(row, count)
    return StepPlan(
        tokens=torch.tensor(layout.tokens, device=device).unsqueeze(1),
        positions=torch.tensor(layout.positions, device=device).unsqueeze(1),
        places=torch.tensor(layout.places, dtype=torch.long, device=device),
        packed=Packed(tuple(layout.singles), tuple(layout.chunks)),
        feeds=tuple(layout.feeds),
        reads=tuple(layout.reads),
        adapters=tuple(layout.adapters),
    )


def _branches(row: Row) -> int:
    """How many option tokens follow the prompt of this row."""
    return len(row.answer.tree.tokens) if row.answer.tree else 0


class _Layout:
    """The lists that a plan is made of, filled one row at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.places: list[int] = []
        self.singles: list[Singles] = []
        self.chunks: list[Chunk] = []
        self.feeds: list[tuple[Row, int]] = []
        self.reads: list[tuple[Row, slice]] = []
        self.adapters: list[tuple[str | None, int]] = []

    def feed_singles(self, rows: Sequence[Row]) -> None:
        """One token of each of ``rows``, which are slots of one bucket in ascending order."""
        import torch

        start = len(self.tokens)
        for row in rows:
            self._read(row, len(self.tokens), 0)
            self.tokens.append(row.tokens[row.fed])
            self.positions.append(row.fed)
            self.feeds.append((row, 1))
            self.adapters.append((row.request.adapter, 1))
        slots, places = [row.place.slot for row in rows], [row.fed for row in rows]
        data = rows[0].place.bucket.data
        self.singles.append(
            Singles(
                start=start,
                end=len(self.tokens),
                data=data,
                slots=torch.tensor(slots, dtype=torch.long, device=self._device),
                places=torch.tensor(places, dtype=torch.long, device=self._device),
                mask=_singles_mask(slots, places, data),
            )
        )

    def feed_chunk(self, row: Row, count: int) -> None:
        """The next ``count`` tokens of ``row``, and the branches of its options if the prompt is complete then."""
        start, past = len(self.tokens), row.fed
        self.tokens.extend(row.tokens[past : past + count])
        self.positions.extend(range(past, past + count))
        last = len(self.tokens) - 1
        branches = 0
        if count == row.pending:
            if row.answer.tree is not None:
                branches = _branches(row)
                self.tokens.extend(row.answer.tree.tokens)
                self.positions.extend(past + count + depth for depth in row.answer.tree.depths)
            self._read(row, last, branches)
        mask = _chunk_mask(row, count, branches)
        self.chunks.append(Chunk(start, len(self.tokens), row.place.data, past, mask))
        self.feeds.append((row, count))
        self.adapters.append((row.request.adapter, count + branches))

    def _read(self, row: Row, place: int, branches: int) -> None:
        first = len(self.places)
        self.places.extend(range(place, place + 1 + branches))
        self.reads.append((row, slice(first, first + 1 + branches)))


def _singles_mask(slots: Sequence[int], places: Sequence[int], data: torch.Tensor) -> torch.Tensor:
    """``[max slot + 1, 1, longest]``: zero over each row's history, the lowest number elsewhere."""
    import torch

    lengths = [0] * (slots[-1] + 1)
    for slot, place in zip(slots, places, strict=True):
        lengths[slot] = place + 1
    columns = torch.arange(max(lengths), device=data.device)
    hidden = columns[None, :] >= torch.tensor(lengths, device=data.device)[:, None]
    # The lowest finite number, not minus infinity: a slot without a query here would give 0/0.
    return torch.zeros(hidden.shape, dtype=data.dtype, device=data.device).masked_fill_(
        hidden, torch.finfo(data.dtype).min
    )[:, None]


def _chunk_mask(row: Row, count: int, branches: int) -> torch.Tensor:
    """``[count + branches, past + count + branches]``: causal, and each branch sees its own ancestors only."""
    import torch

    data = row.place.bucket.data
    width = row.fed + count + branches
    seen = torch.ones(count + branches, width, dtype=torch.bool).tril_(row.fed)
    if branches and row.answer.tree is not None:
        seen[count:, row.fed + count :] = row.answer.tree.mask()
    mask = torch.zeros(seen.shape, dtype=data.dtype).masked_fill_(~seen, torch.finfo(data.dtype).min)
    return mask.to(data.device)
