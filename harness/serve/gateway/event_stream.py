"""An answer as server-sent events, stopped as soon as the client leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from harness.serve.gateway.answers import Answered, Choice, Piece, Pieces
from harness.serve.gateway.api_errors import ApiError, as_api_error
from harness.serve.gateway.envelopes import DONE, Envelope, sse
from harness.serve.gateway.presence import while_connected
from harness.serve.gateway.reporting import report

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Over = Callable[[Answered | None, BaseException | None], None]


class EventStream:
    """An answer that is still to be computed, as an ASGI response.

    A failure before the first piece is an error with a status, a later one an error event. ``over`` is called once,
    with the answer or with what broke. (Starlette's own streaming response calls nobody when the client is gone before
    the first event.)
    """

    def __init__(self, pieces: Pieces, envelope: Envelope, headers: Mapping[str, str], over: Over) -> None:
        told = {**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        self._pieces, self._envelope, self._over = pieces, envelope, over
        self._answer: Answered | None = None
        self._problem: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; whatever happens, ``over`` hears of it."""
        try:
            await while_connected(receive, self._send(scope, receive, send))
        except ApiError as gone:
            # The client left: there is nobody to tell.
            self._problem = gone
        except BaseException as broken:
            self._problem = broken
            raise
        finally:
            self._over(self._answer, self._problem)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        # One task runs the whole answer: timeouts within it hold on to the task that they began in.
        async with aclosing(self._pieces) as pieces:
            try:
                first = await anext(pieces)
            except Exception as problem:
                self._problem = _complete(problem)
                report(self._problem, scope["state"]["request_id"])
                await as_api_error(self._problem).response()(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            async with aclosing(self._events(first, pieces, scope["state"]["request_id"])) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(
        self, first: Piece | Choice | Answered, rest: Pieces, request_id: str
    ) -> AsyncGenerator[bytes, None]:
        """The events, from the role to ``[DONE]``; those that come together are sent together."""
        opened: set[int] = set()
        ended: Choice | None = None
        piece = first
        try:
            while not isinstance(piece, Answered):
                before = b"" if ended is None else self._envelope.closing(ended, None)
                ended = piece if isinstance(piece, Choice) else None
                if piece.index not in opened:
                    opened.add(piece.index)
                    before += self._envelope.opening(piece.index)
                if isinstance(piece, Piece):
                    before += self._envelope.piece(piece)
                if before:
                    yield before
                piece = await anext(rest)
            assert ended is not None
            self._answer = piece
            yield self._envelope.closing(ended, piece) + self._end(piece)
        except Exception as problem:
            # The status is sent already; an error event is the only way left to say that the answer is incomplete.
            self._problem = _complete(problem)
            report(self._problem, request_id)
            yield sse(as_api_error(self._problem).body())

    def _end(self, answer: Answered) -> bytes:
        return (self._envelope.usage(answer.tokens) if self._envelope.counts_tokens else b"") + DONE


def _complete(problem: Exception) -> Exception:
    ended = isinstance(problem, StopAsyncIteration)
    return ApiError(500, "the answer ended before it was complete") if ended else problem
