"""Work for a client that may leave: it is stopped as soon as nobody would read its result."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from harness.serve.gateway.api_errors import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive

_T = TypeVar("_T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of ``work``, which is cancelled when the client goes away; ApiError 499 then."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look_at)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "the client closed the connection")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _look_at(task: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody waits for any more: asyncio would log its text, which may quote the caller."""
    if not task.cancelled():
        task.exception()
