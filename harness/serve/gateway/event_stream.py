"""An answer as server-sent events, stopped as soon as the client leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from harness.serve.gateway.answers import Answered, Choice, Piece, Pieces
from harness.serve.gateway.api_errors import ApiError, as_api_error
from harness.serve.gateway.envelopes import DONE, Envelope, sse
from harness.serve.gateway.presence import while_connected

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Over = Callable[[Answered | None, BaseException | None], None]


class EventStream:
    """The rest of an answer whose first piece is there, as an ASGI response.

    ``over`` is called once, with the answer or with what broke. (Starlette's own streaming response calls nobody when
    the client is gone before the first event.)
    """

    def __init__(
        self,
        first: Piece | Choice | Answered,
        rest: Pieces,
        envelope: Envelope,
        *,
        usage: bool,
        headers: Mapping[str, str],
        over: Over,
    ) -> None:
        told = {**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        self._first, self._rest, self._envelope, self._usage, self._over = first, rest, envelope, usage, over
        self._answer: Answered | None = None
        self._problem: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; whatever happens, ``over`` hears of it."""
        try:
            await while_connected(receive, self._send(send))
        except ApiError as gone:
            # The client left: there is nobody to tell.
            self._problem = gone
        except BaseException as broken:
            self._problem = broken
            raise
        finally:
            self._over(self._answer, self._problem)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async with aclosing(self._events()) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        """The events, from the role to ``[DONE]``; those that come together are sent together."""
        opened: set[int] = set()
        ended: Choice | None = None
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Answered):
                        assert ended is not None
                        self._answer = piece
                        yield self._envelope.closing(ended, piece) + self._end(piece)
                        return
                    before = b"" if ended is None else self._envelope.closing(ended, None)
                    ended = piece if isinstance(piece, Choice) else None
                    if piece.index not in opened:
                        opened.add(piece.index)
                        before += self._envelope.opening(piece.index)
                    if isinstance(piece, Piece):
                        before += self._envelope.piece(piece)
                    if before:
                        yield before
            raise ApiError(500, "the answer ended before it was complete")
        except Exception as problem:
            # The status is sent already; an error event is the only way left to say that the answer is incomplete.
            self._problem = problem
            yield sse(as_api_error(problem).body())

    def _end(self, answer: Answered) -> bytes:
        return (self._envelope.usage(answer.tokens) if self._usage else b"") + DONE

    async def _pieces(self) -> Pieces:
        yield self._first
        async with aclosing(self._rest) as rest:
            async for piece in rest:
                yield piece
