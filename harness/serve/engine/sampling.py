"""Drawing one token from a row of logits, reproducibly and independently of the rest of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.serve.protocol import Decoding

if TYPE_CHECKING:
    import torch


class Sampler:
    """The draws of one request: greedy at temperature 0, else from the tempered and cut distribution.

    A draw is an exponential race (argmax of p / e with e ~ Exp(1) per token, the Gumbel-max trick), from a
    generator that only this request uses. Two variants with one seed thus share their noise, so that an
    unchanged distribution draws the unchanged token.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._bias = dict(decoding.logit_bias)
        self._generator: torch.Generator | None = None
        if not self.greedy:
            import torch

            self._generator = torch.Generator().manual_seed(decoding.seed)

    @property
    def greedy(self) -> bool:
        """True when the best token is always taken."""
        return self._decoding.temperature == 0.0

    def draw(self, logits: torch.Tensor) -> int:
        """The next token for ``logits`` ``[vocabulary]``; forbidden tokens hold minus infinity."""
        import torch

        if self._bias:
            ids = torch.tensor(list(self._bias), device=logits.device)
            logits = logits.index_add(0, ids, torch.tensor(list(self._bias.values()), device=logits.device).to(logits))
        if self.greedy:
            return int(logits.argmax())
        # Drawn on the CPU, so that a seed means the same noise on every device.
        weights = _cut(logits.float().cpu() / self._decoding.temperature, self._decoding.top_k, self._decoding.top_p)
        noise = torch.empty_like(weights).exponential_(generator=self._generator)
        return int((weights / noise).argmax())


def _cut(logits: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Probabilities ``[vocabulary]`` with everything outside the ``top_k`` and the ``top_p`` nucleus at zero."""
    import torch

    if 0 < top_k < logits.shape[0]:
        least = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < least, -torch.inf)
    weights = logits.softmax(-1)
    if top_p < 1.0:
        ordered, order = weights.sort(descending=True)
        # A token stays while the mass before it is below top_p, so at least the best one stays.
        outside = ordered.cumsum(-1) - ordered >= top_p
        weights = weights.index_fill(0, order[outside], 0.0)
    return weights
