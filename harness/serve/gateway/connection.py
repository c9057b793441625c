"""One connection of the gateway: how long it may take with its headers, stay silent, and leave an answer unread.

uvicorn waits for all three without end (idle connections apart): a handful of silent clients would hold it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from harness.serve.gateway.api_errors import invalid
from harness.serve.gateway.drain import draining
from harness.spec.serving import Limits

# What a reader must at least take in ``write_seconds``: asyncio resumes a paused writer after as much
# (64 KiB less 16 KiB), so that a stream and one long answer are held to the same pace.
_PACE_BYTES = 48 * 1024

_Phase = Literal["answering", "headers", "idle", "rest"]


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with deadlines. h11 and not httptools: its state can be asked for."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._seconds: dict[_Phase, float] = {
            "headers": limits.header_seconds,
            "idle": limits.idle_seconds,
            # The rest of a body that was answered early is read and thrown away, because closing at once would
            # reset the connection before the client has read why. Not for long.
            "rest": limits.header_seconds,
        }
        self._write_seconds = limits.write_seconds
        # uvicorn forgets its own idle deadline when such a rest comes in; ours is the one that counts.
        self.timeout_keep_alive = limits.idle_seconds  # type: ignore[assignment]
        self._phase: _Phase | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._served, self.app = self.app, self._serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first headers."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._enter_phase()

    def data_received(self, data: bytes) -> None:
        """Take what came, and see what the connection waits for now."""
        super().data_received(data)
        self._enter_phase()

    def eof_received(self) -> None:
        """Give up an answer whose client has left: asyncio would first wait for it to read what is buffered."""
        if self._waits_for() == "answering":
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Go on with the connection after an answer."""
        super().on_response_complete()
        self._enter_phase()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget every deadline."""
        self._unset_keepalive_if_required()
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        self._deadline = self._unread = None
        self._phase = "answering"
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: from now on it is watched."""
        super().pause_writing()
        self._watch_reader()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the one shape of error; cut off what follows an answer that has begun."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        response = invalid("the request is not valid HTTP").response()
        headers = [*response.raw_headers, (b"connection", b"close")]
        body = h11.Data(bytes(response.body))
        for event in (h11.Response(status_code=400, headers=headers), body, h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_reader()

    def _waits_for(self) -> _Phase:
        if self.cycle is not None and not self.cycle.response_complete:
            return "answering"
        if self.conn.their_state is not h11.IDLE:
            return "rest"
        return "headers" if self.cycle is None or self.conn.trailing_data[0] else "idle"

    def _enter_phase(self) -> None:
        if self.transport.is_closing():
            return
        phase = self._waits_for()
        # A phase keeps the deadline that it began with: one more byte of a header buys no time.
        if phase == self._phase:
            return
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if phase != "answering":
            # Closed, not cut: the end of the answer before may still be on its way to a slow reader.
            self._deadline = self.loop.call_later(self._seconds[phase], self.transport.close)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._served(scope, receive, send)
        except asyncio.CancelledError:
            # The server ends: uvicorn would log a traceback for every answer that was not finished in time.
            if not draining(scope):
                raise
            self.cycle.disconnected = True
            self.transport.abort()
        finally:
            # After uvicorn has closed the connection, if it does: a closing one waits for its reader without end.
            self.loop.call_soon(self._watch_reader)

    def _watch_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        left = self.transport.get_write_buffer_size()
        if left:
            self._unread = self.loop.call_later(self._write_seconds, self._judge_reader, left)

    def _judge_reader(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        # While more is being written to a reader that nobody waits for, what is left says nothing of its pace.
        harmless = self._waits_for() == "answering" and not self.flow.write_paused
        if left and before - left < _PACE_BYTES and not harmless:
            self.transport.abort()
        else:
            self._watch_reader()
