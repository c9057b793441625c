"""uvicorn's server, which lets answers in flight finish when it is asked to stop, and ends at once when asked again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from types import FrameType

import uvicorn

from harness.serve.gateway.drain import Drain

_log = logging.getLogger("signoff.gateway")
_LOOK_EVERY_S = 0.05
_FORCED_S = 1.0


class DrainingServer(uvicorn.Server):
    """Stops on SIGTERM and SIGINT alike and then returns from ``run``; uvicorn would end by the signal itself.

    For ``notice_s`` seconds after the signal it still accepts, so that a load balancer can see ``/ready`` say no
    before connections are refused.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, notice_s: float) -> None:
        super().__init__(config)
        self.drain, self._notice_s = drain, notice_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal starts the drain, the second one ends it."""
        if self.drain.started:
            self.force_exit = True
        self.drain.started = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; every request will know of the drain."""
        self.drain.put_into(self.lifespan.state)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is in flight; cut it off once a second signal came."""
        self.drain.started = True
        noticed = asyncio.get_running_loop().time() + self._notice_s
        while not self.force_exit and asyncio.get_running_loop().time() < noticed:
            await asyncio.sleep(_LOOK_EVERY_S)
        if self.server_state.tasks:
            _log.warning(
                "asked to stop: %d answers in flight have %s s to finish; ask again to cut them off",
                len(self.server_state.tasks),
                self.config.timeout_graceful_shutdown,
            )
        work = asyncio.ensure_future(super().shutdown(sockets))
        while not work.done():
            if self.force_exit:
                self._cut()
            await asyncio.wait({work}, timeout=_LOOK_EVERY_S)
        await work
        if self.force_exit:
            # uvicorn leaves this out: what the application holds would be torn down with a traceback.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lifespan.shutdown(), _FORCED_S)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
