"""Batches: every row once, in an order of seed and epoch, little padding, and parts that cover what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tune.batches import IGNORED, LengthSampler, chunks, collate

LENGTHS = st.lists(st.integers(2, 300), min_size=1, max_size=400)


def order(lengths: list[int], batch: int, seed: int = 0, epoch: int = 0) -> list[int]:
    """The rows of an epoch."""
    sampler = LengthSampler(lengths, batch, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_every_row_once(lengths: list[int], batch: int, seed: int, epoch: int) -> None:
    """Every order is a permutation, whatever the lengths, and the same seed and epoch give it again."""
    found = order(lengths, batch, seed, epoch)
    assert sorted(found) == list(range(len(lengths))) == list(range(len(LengthSampler(lengths, batch, seed))))
    assert found == order(lengths, batch, seed, epoch)


def test_other_seeds_and_epochs_have_other_orders() -> None:
    """Rows meet others in the next epoch, and with another seed."""
    lengths = [20 + number % 7 for number in range(200)]
    found = [order(lengths, 8, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(each) for each in found}) == 9
    assert len({frozenset(each[:8]) for each in found}) == 9


def padded(rows: list[int], lengths: list[int], batch: int) -> int:
    """Padding tokens of an order."""
    groups = [[lengths[row] for row in rows[at : at + batch]] for at in range(0, len(rows), batch)]
    return sum(max(group) * len(group) - sum(group) for group in groups)


@pytest.mark.parametrize("seed", range(3))
def test_far_less_padding(seed: int) -> None:
    """Lengths as texts have them are padded at most a fifth of what a random order pads."""
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(4, 0.7, 1003), 5, 512).astype(int).tolist()
    by_chance = random.permutation(len(lengths)).tolist()
    assert padded(order(lengths, 16, seed), lengths, 16) < 0.2 * padded(by_chance, lengths, 16)


def test_only_the_last_batch_is_short() -> None:
    """Batches that are cut from the order are those that were sorted by length: the short one stands at its end."""
    lengths = list(np.random.default_rng(0).integers(2, 300, 1003))
    rows = order(lengths, 16)
    full = [sorted(rows[at : at + 16], key=lambda row: (lengths[row], row)) for at in range(0, 992, 16)]
    assert [rows[at : at + 16] for at in range(0, 992, 16)] == full
    # Short rows do not come first, as they would if batches were left in their sorted order.
    means = [np.mean([lengths[row] for row in batch]) for batch in full]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.4


ROWS = st.lists(
    st.integers(2, 60).flatmap(
        lambda length: st.tuples(
            st.lists(st.integers(0, 99), min_size=length, max_size=length), st.integers(1, length - 1)
        )
    ),
    min_size=1,
    max_size=12,
)


def rows_of(drawn: list[tuple[list[int], int]]) -> list[dict[str, Any]]:
    """Rows as the dataset gives them."""
    return [{"input_ids": tokens, "answer": answer} for tokens, answer in drawn]


@given(ROWS)
def test_labels_are_the_answers(drawn: list[tuple[list[int], int]]) -> None:
    """Padded at the right; only the answers' tokens are labels, at their own places."""
    batch = collate(rows_of(drawn), 7)
    longest = max(len(tokens) for tokens, _ in drawn)
    assert batch["input_ids"].shape == batch["labels"].shape == (len(drawn), longest)
    for place, (tokens, answer) in enumerate(drawn):
        rest = longest - len(tokens)
        assert batch["input_ids"][place].tolist() == tokens + [7] * rest
        hidden = len(tokens) - answer
        assert batch["labels"][place].tolist() == [IGNORED] * hidden + tokens[hidden:] + [IGNORED] * rest


@given(ROWS, st.integers(1, 200))
def test_chunks_cover_what_is_learned(drawn: list[tuple[list[int], int]], tokens: int) -> None:
    """The parts hold each row once, each with all of its tokens and labels, and none is larger than was asked."""
    batch = collate(rows_of(drawn), 0)
    parts = chunks(batch, tokens)
    learned = [
        (row.tolist(), [label for label in labels.tolist() if label != IGNORED])
        for part in parts
        for row, labels in zip(part["input_ids"], part["labels"], strict=True)
    ]
    assert len(learned) == len(drawn)
    for (row, answer), (whole, count) in zip(learned, drawn, strict=True):
        assert row[: len(whole)] == whole and answer == whole[len(whole) - count :]
    assert all(part["input_ids"].numel() <= tokens or len(part["input_ids"]) == 1 for part in parts)
    assert all(bool((part["labels"][:, -1] != IGNORED).any()) for part in parts)
