"""Keys and values of the running requests (one slot each) and of prompt beginnings seen before (blocks)."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BLOCK = 16
SMALLEST = 256


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token takes: ``layers`` x 2 (key, value) x ``heads`` x ``size`` numbers of ``dtype``."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    def zeros(self, slots: int, capacity: int) -> torch.Tensor:
        """``[layers, 2, slots, heads, capacity, size]``. Values must be finite: a masked column multiplies by zero."""
        import torch

        shape = (self.layers, 2, slots, self.heads, capacity, self.size)
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        import numpy as np

        # numpy asks the system for pages that are zero already and cost no memory until they are written.
        width = torch.empty((), dtype=self.dtype).element_size()
        integers = {2: np.int16, 4: np.int32, 8: np.int64}[width]
        return torch.from_numpy(np.zeros(shape, dtype=integers)).view(self.dtype)


@dataclass(eq=False, slots=True)
class Bucket:
    """Slots of one ``capacity`` (tokens). ``touched`` of them hold memory: the slots below the highest ever used."""

    capacity: int
    slots: int
    data: torch.Tensor
    taken: set[int]
    touched: int = 0

    @property
    def tokens(self) -> int:
        """Tokens' worth of memory that this bucket holds."""
        return self.touched * self.capacity


@dataclass(frozen=True, slots=True)
class Place:
    """One slot of one bucket."""

    bucket: Bucket
    slot: int

    @property
    def data(self) -> torch.Tensor:
        """``[layers, 2, heads, capacity, size]``, shared with the bucket."""
        return self.bucket.data[:, :, self.slot]


class KvPool:
    """Slots for running requests, in buckets of doubling capacity, so that one long request widens no short one.

    All buckets together hold memory for at most ``budget`` tokens. A slot is filled from the left and never moved
    while it is taken, so admitting and evicting copy nothing.
    """

    def __init__(self, shape: KvShape, slots: int, budget: int, longest: int) -> None:
        self._shape, self._slots, self.budget, self._longest = shape, slots, budget, longest
        self._buckets: dict[int, Bucket] = {}
        self._taken = 0

    @property
    def held(self) -> int:
        """Tokens' worth of memory now held."""
        return sum(bucket.tokens for bucket in self._buckets.values())

    def fits(self, tokens: int) -> bool:
        """Whether a request of ``tokens`` could ever get a slot."""
        return self._capacity(tokens) <= self.budget

    def take(self, tokens: int) -> Place | None:
        """The lowest free slot with room for ``tokens``; None when slots or memory are used up now."""
        if self._taken >= self._slots:
            return None
        capacity = self._capacity(tokens)
        bucket = self._buckets.get(capacity)
        if bucket is None:
            bucket = self._buckets[capacity] = self._bucket(capacity, self._first(capacity))
        slot = next(number for number in range(self._slots) if number not in bucket.taken)
        if slot >= bucket.touched and not self._grow(bucket, slot + 1):
            return None
        bucket.taken.add(slot)
        self._taken += 1
        return Place(bucket, slot)

    def give_back(self, place: Place) -> None:
        """Free a slot. Its stale values stay: they are finite and always masked."""
        place.bucket.taken.discard(place.slot)
        self._taken -= 1

    def _capacity(self, tokens: int) -> int:
        capacity = SMALLEST
        while capacity < tokens:
            capacity *= 2
        # The last bucket need not be larger than the longest request there can be.
        return min(capacity, max(self._longest, tokens))

    def _grow(self, bucket: Bucket, touched: int) -> bool:
        """Let ``bucket`` hold memory for ``touched`` slots, taking back what others do not need; False: no room."""
        if self.held + (touched - bucket.touched) * bucket.capacity > self.budget:
            self._reclaim()
        if self.held + (touched - bucket.touched) * bucket.capacity > self.budget:
            return False
        if touched > bucket.slots:
            self._resize(bucket, min(self._slots, 2 * bucket.slots))
        bucket.touched = touched
        return True

    def _reclaim(self) -> None:
        """Give memory above the highest taken slot of each bucket back to the system."""
        for bucket in self._buckets.values():
            needed = max(bucket.taken, default=-1) + 1
            if needed < bucket.touched:
                self._resize(bucket, max(needed, self._first(bucket.capacity)))
                bucket.touched = needed

    def _first(self, capacity: int) -> int:
        """How many slots a new bucket gets: all where untouched memory is free, few where it is not."""
        most = max(1, min(self._slots, self.budget // capacity))
        return most if self._shape.device.type == "cpu" else min(4, most)

    def _bucket(self, capacity: int, slots: int) -> Bucket:
        return Bucket(capacity, slots, self._shape.zeros(slots, capacity), set())

    def _resize(self, bucket: Bucket, slots: int) -> None:
        data = self._shape.zeros(slots, bucket.capacity)
        for slot in bucket.taken:
            data[:, :, slot] = bucket.data[:, :, slot]
        bucket.data, bucket.slots = data, slots


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
