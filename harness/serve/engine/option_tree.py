"""Scoring the options of a choice in one forward pass: they become a tree whose branches share their beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.serve.protocol import RequestError

if TYPE_CHECKING:
    import torch

_ROOT = -1


@dataclass(frozen=True, slots=True)
class OptionTree:
    """The tokens to feed after the prompt, and where every option reads its log-probabilities.

    ``tokens[i]`` follows node ``parents[i]`` (-1: the prompt's last token) at depth ``depths[i]`` (0 is the first
    place after the prompt). ``paths[k]`` lists, for option k, pairs (node that predicts, token predicted).
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]

    def mask(self) -> torch.Tensor:
        """``[nodes, nodes]``, True where a node sees another: itself and its ancestors."""
        import torch

        seen = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent != _ROOT:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen

    def scores(self, log_probs: torch.Tensor) -> list[float]:
        """Total log-probability per option; ``log_probs`` is ``[1 + nodes, vocabulary]``, the prompt's end first."""
        return [sum(float(log_probs[node + 1, token]) for node, token in path) for path in self.paths]


def option_tree(options: Sequence[str], encoded: Sequence[Sequence[int]], end_of_turn: int) -> OptionTree:
    """The tree of ``options``; raises RequestError when two of them are the same tokens or one has none.

    Every option ends with ``end_of_turn``, unless each is one single token.
    """
    seen: dict[tuple[int, ...], str] = {}
    for option, ids in zip(options, encoded, strict=True):
        if not ids:
            raise RequestError(f"the tokenizer gives no token for option {option!r}", "options")
        if tuple(ids) in seen:
            raise RequestError(f"options {seen[tuple(ids)]!r} and {option!r} are the same tokens", "options")
        seen[tuple(ids)] = option
    ends = [] if all(len(ids) == 1 for ids in encoded) else [end_of_turn]
    nodes: dict[tuple[int, ...], int] = {(): _ROOT}
    order: list[tuple[int, ...]] = []
    paths = []
    for ids in encoded:
        full = (*ids, *ends)
        # The last token is only predicted, so it need not be fed.
        for length in range(1, len(full)):
            if full[:length] not in nodes:
                nodes[full[:length]] = len(order)
                order.append(full[:length])
        paths.append(tuple((nodes[full[:i]], full[i]) for i in range(len(full))))
    return OptionTree(
        tokens=tuple(path[-1] for path in order),
        parents=tuple(nodes[path[:-1]] for path in order),
        depths=tuple(len(path) - 1 for path in order),
        paths=tuple(paths),
    )
