"""Keys and values of the running requests (one slot each) and of prompt beginnings seen before (blocks)."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BLOCK = 16
_GROWTH = 256


class KvSlots:
    """One buffer ``[layers, 2, slots, kv heads, capacity, head size]``; the 2 are keys and values.

    A slot is filled from the left and never moved, so admitting and evicting copy nothing. The capacity
    (tokens per slot) grows in steps when a longer request arrives.
    """

    def __init__(self, layers: int, slots: int, heads: int, size: int, dtype: torch.dtype) -> None:
        self._layers, self._slots, self._heads, self._size, self._dtype = layers, slots, heads, size, dtype
        self.capacity = _GROWTH
        self.data = self._zeros(self.capacity)
        self._free = list(range(slots))

    def take(self, tokens: int) -> int | None:
        """The lowest free slot, with room for ``tokens``; None when all are taken."""
        if not self._free:
            return None
        self._reserve(tokens)
        return self._free.pop(0)

    def give_back(self, slot: int) -> None:
        """Free a slot. Its stale values stay: they are finite and always masked."""
        self._free.append(slot)
        self._free.sort()

    def _reserve(self, tokens: int) -> None:
        if tokens <= self.capacity:
            return
        capacity = -(-tokens // _GROWTH) * _GROWTH
        grown = self._zeros(capacity)
        taken = [slot for slot in range(self._slots) if slot not in self._free]
        for slot in taken:
            grown[:, :, slot, :, : self.capacity] = self.data[:, :, slot]
        self.data, self.capacity = grown, capacity

    def _zeros(self, capacity: int) -> torch.Tensor:
        import numpy as np
        import torch

        # numpy asks the system for pages that are zero already and cost no memory until written; values
        # must be finite because a masked column still multiplies by zero.
        shape = (self._layers, 2, self._slots, self._heads, capacity, self._size)
        width = torch.empty((), dtype=self._dtype).element_size()
        integers = {2: np.int16, 4: np.int32, 8: np.int64}[width]
        return torch.from_numpy(np.zeros(shape, dtype=integers)).view(self._dtype)


def block_keys(adapter: str | None, tokens: Sequence[int]) -> list[bytes]:
    """One chained digest per full block of ``tokens``: equal digests mean equal adapter and equal beginning.

    A cryptographic digest, because a collision would let one prompt continue from another one's state.
    """
    keys: list[bytes] = []
    last = hashlib.blake2b((adapter or "").encode(), digest_size=16).digest()
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        block = array("q", tokens[start : start + BLOCK]).tobytes()
        last = hashlib.blake2b(last + block, digest_size=16).digest()
        keys.append(last)
    return keys


class PrefixCache:
    """Blocks of keys and values of prompt beginnings, least recently used out first."""

    def __init__(self, max_tokens: int) -> None:
        self._max_blocks = max_tokens // BLOCK
        self._blocks: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, key: bytes) -> bool:
        return key in self._blocks

    def matching(self, keys: Sequence[bytes]) -> Iterator[torch.Tensor]:
        """The stored blocks of the longest known beginning, in order."""
        for key in keys:
            if key not in self._blocks:
                return
            self._blocks.move_to_end(key)
            yield self._blocks[key]

    def add(self, key: bytes, block: torch.Tensor) -> None:
        """Keep a copy of ``block`` ``[layers, 2, kv heads, BLOCK, head size]`` under ``key``."""
        if self._max_blocks == 0 or key in self._blocks:
            return
        self._blocks[key] = block.clone()
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)
