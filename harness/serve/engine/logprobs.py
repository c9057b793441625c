"""The log-probabilities of drawn tokens, as callers may ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.serve.protocol import TokenLogprob

if TYPE_CHECKING:
    import torch


class LogprobTeller:
    """Tells each drawn token's log-probability over the whole vocabulary, before temperature, cuts and grammar.

    ``data_of`` gives the bytes of one token: a token may be a part of a character only.
    """

    def __init__(self, data_of: Callable[[int], bytes], top: int) -> None:
        self._data_of, self._top = data_of, top

    def tell(self, logits: torch.Tensor, token: int) -> TokenLogprob:
        """What is to be said of ``token``, drawn from ``logits`` ``[vocabulary]``."""
        found = logits.float().log_softmax(-1)
        top: tuple[tuple[str, bytes, float], ...] = ()
        if self._top:
            values, ids = found.topk(self._top)
            top = tuple((*self._named(int(one)), float(value)) for value, one in zip(values, ids, strict=True))
        text, data = self._named(token)
        return TokenLogprob(text, data, float(found[token]), top)

    def _named(self, token: int) -> tuple[str, bytes]:
        data = self._data_of(token)
        return data.decode(errors="replace"), data
