"""Letting only requests through together that do not spoil each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Requests of one kind run together; those of another wait until none is running, first come, first served."""

    def __init__(self) -> None:
        self._kind: object = None
        self._running = 0
        self._waiting: deque[tuple[object, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, kind: object) -> AsyncIterator[None]:
        """Wait for a turn of ``kind``, and hold it; kinds are told apart by ``==``, None takes no turn."""
        if kind is None:
            yield
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((kind, place))
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            # The turn may have come in the very moment in which the caller gave up.
            if place.done() and not place.cancelled():
                self._leave()
            else:
                self._waiting = deque(each for each in self._waiting if each[1] is not place)
                self._admit()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._running == 0 or self._waiting[0][0] == self._kind):
            kind, place = self._waiting.popleft()
            if place.cancelled():
                continue
            self._kind = kind
            self._running += 1
            place.set_result(None)
