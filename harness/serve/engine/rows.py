"""One running request inside the engine: what is left to feed, and how its logits become an answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.serve.engine.kv_store import Place
from harness.serve.protocol import Delta, FinishReason, Generation, GenerationRequest, TokenLogprob

if TYPE_CHECKING:
    import torch

    from harness.serve.engine.json_grammar import JsonMatcher
    from harness.serve.engine.logprobs import LogprobTeller
    from harness.serve.engine.option_tree import OptionTree
    from harness.serve.engine.sampling import Sampler
    from harness.serve.engine.text_stream import TextStream


class Answer(Protocol):
    """How one request turns logits into its answer."""

    @property
    def tree(self) -> OptionTree | None:
        """The branches to feed after the prompt, if the answer is a choice."""
        ...

    def take(self, logits: torch.Tensor) -> tuple[Delta | None, int | None]:
        """Read logits ``[places, vocabulary]``: what is new, and the token to feed next (None: finished)."""
        ...

    def result(self, row: Row) -> Generation:
        """The finished generation."""
        ...


@dataclass(slots=True)
class Row:
    """A request on its way through the engine. ``fed`` of its ``tokens`` are in the slot already."""

    request: GenerationRequest
    prompt: list[int]
    keys: list[bytes]
    answer: Answer
    ticket: int = 0
    placed: Place | None = None
    fed: int = 0
    cached: int = 0
    tokens: list[int] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    running: float | None = None

    @property
    def place(self) -> Place:
        """Its slot; only a running request has one."""
        assert self.placed is not None
        return self.placed

    @property
    def pending(self) -> int:
        """How many tokens are still to be fed."""
        return len(self.tokens) - self.fed

    @property
    def room(self) -> int:
        """The most tokens that this request can hold in its slot."""
        tree = self.answer.tree
        return len(self.prompt) + (len(tree.tokens) if tree else self.request.decoding.max_tokens)

    def latency_ms(self) -> float:
        """Milliseconds since admission."""
        return (time.perf_counter() - self.started) * 1e3

    def queue_ms(self) -> float:
        """Milliseconds between admission and a slot."""
        return 0.0 if self.running is None else (self.running - self.started) * 1e3


class TextAnswer:
    """Free text or JSON: one token per step until the turn ends, a stop string, the grammar or max_tokens."""

    tree = None

    def __init__(self, sampler: Sampler, stream: TextStream, ends: Sequence[int], limit: int) -> None:
        self._sampler, self._stream = sampler, stream
        self._ends, self._limit = frozenset(ends), limit
        self._drawn = 0
        self.read = 0
        self._reason: FinishReason = "stop"
        self._told: list[TokenLogprob] = []
        self.matcher: JsonMatcher | None = None
        self.teller: LogprobTeller | None = None

    def take(self, logits: torch.Tensor) -> tuple[Delta | None, int | None]:
        """Draw one token from ``logits`` ``[1, vocabulary]``."""
        last = logits[-1]
        token = self._sampler.draw(last if self.matcher is None else self.matcher.restrict(last))
        self._drawn += 1
        if token in self._ends:
            return self._delta(self._stream.close()), None
        told = () if self.teller is None else (self.teller.tell(last, token),)
        self._told.extend(told)
        complete = self.matcher is not None and self.matcher.accept(token)
        piece = self._stream.push(token)
        if self._stream.stopped:
            return self._delta(piece, told), None
        if complete:
            return self._delta(piece + self._stream.close(), told), None
        if self._drawn >= self._limit:
            self._reason = "length"
            return self._delta(piece + self._stream.close(), told), None
        return self._delta(piece, told), token

    def _delta(self, text: str, told: tuple[TokenLogprob, ...] = ()) -> Delta | None:
        return Delta(text, told, self.read, self._drawn) if text or told else None

    def result(self, row: Row) -> Generation:
        """The text as a generation."""
        return Generation(
            text=self._stream.text,
            finish_reason=self._reason,
            prompt_tokens=len(row.prompt),
            completion_tokens=self._drawn,
            latency_ms=row.latency_ms(),
            queue_ms=row.queue_ms(),
            cached_prompt_tokens=row.cached,
            logprobs=tuple(self._told) if self.teller is not None else None,
        )


class ChoiceAnswer:
    """The best of several options, all scored in one forward pass."""

    def __init__(self, options: Sequence[str], tree: OptionTree) -> None:
        self.tree = tree
        self._options = tuple(options)
        self._totals: list[float] = []

    def take(self, logits: torch.Tensor) -> tuple[Delta | None, int | None]:
        """Score every option from ``logits`` ``[1 + nodes, vocabulary]``."""
        self._totals = self.tree.scores(logits.float().log_softmax(-1))
        return Delta(self._options[self._best()]), None

    def _best(self) -> int:
        return max(range(len(self._totals)), key=lambda index: self._totals[index])

    def result(self, row: Row) -> Generation:
        """The best option with the normalised log-probability of each."""
        best = self._best()
        peak = self._totals[best]
        norm = peak + math.log(sum(math.exp(total - peak) for total in self._totals))
        return Generation(
            text=self._options[best],
            finish_reason="stop",
            prompt_tokens=len(row.prompt),
            completion_tokens=len(self.tree.paths[best]),
            scores={option: total - norm for option, total in zip(self._options, self._totals, strict=True)},
            latency_ms=row.latency_ms(),
            queue_ms=row.queue_ms(),
            cached_prompt_tokens=row.cached,
        )
