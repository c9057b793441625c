"""A turn on its way: what it holds, and what happens exactly once when it is over, however it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from harness.serve.gateway.answers import Answered, Piece, Pieces
from harness.serve.gateway.api_errors import as_api_error
from harness.serve.gateway.parts import Observer, Reservation
from harness.serve.gateway.turn import Outcome, Turn

_log = logging.getLogger("signoff.gateway")
_OUTCOMES: dict[int, Outcome] = {429: "limited", 499: "cancelled", 504: "timeout"}


@dataclass(slots=True)
class Running:
    """A turn with the observers that are told of its end and the reservation that is given back then."""

    turn: Turn
    observers: Sequence[Observer]
    reservation: Reservation | None = None
    estimate: int = 0
    """About how many tokens the request may use."""
    _shown: list[str] = field(default_factory=list, init=False)
    _over: bool = field(default=False, init=False)

    async def noted(self, pieces: Pieces) -> Pieces:
        """The same pieces, of which the first one's time and the first choice's text are noted."""
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Piece) and piece.text:
                    self.turn.first_piece()
                    if piece.index == 0:
                        self._shown.append(piece.text)
                yield piece

    def answered(self, answer: Answered) -> None:
        """Note what came out."""
        turn = self.turn
        turn.tokens, turn.digest, turn.steps = answer.tokens, answer.digest, answer.steps
        turn.finish_reason = answer.choices[0].finish_reason
        turn.output = answer.choices[0].text
        if turn.cache != "hit" and answer.queue_ms is not None:
            turn.queue_s = answer.queue_ms / 1000

    def over(self, problem: BaseException | None = None) -> None:
        """Give the reservation back and tell the observers; repeated calls do nothing."""
        if self._over:
            return
        self._over = True
        self.turn.output = self.turn.output or "".join(self._shown)
        if problem is None:
            self.turn.end("ok", 200)
        else:
            self._broken(problem)
        if self.reservation is not None:
            self.reservation.settle(self._used())
        for observer in self.observers:
            try:
                observer.observe(self.turn)
            except Exception as fault:  # an observer must not break the answer, nor hide the turn from the others
                _log.error("%s failed to note a request: %s", type(observer).__name__, type(fault).__name__)

    def _broken(self, problem: BaseException) -> None:
        if isinstance(problem, asyncio.CancelledError):
            self.turn.end("cancelled", 499, "the server stopped before the answer was complete")
            return
        error = as_api_error(problem)
        outcome = _OUTCOMES.get(error.status, "refused" if error.status < 500 else "failed")
        self.turn.end(outcome, error.status, error.message)

    def _used(self) -> int:
        """Tokens to be charged: none for what was not computed or broke, the estimate for what was cut short."""
        turn = self.turn
        if turn.cache == "hit" or turn.outcome in ("refused", "limited", "failed"):
            return 0
        return turn.tokens.prompt + turn.tokens.completion or (0 if turn.outcome == "ok" else self.estimate)
