"""Responses of the gateway that are written at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Body:
    """One complete body as an ASGI response; ``content`` is JSON unless ``media_type`` says otherwise."""

    def __init__(
        self,
        content: bytes,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
        media_type: str = "application/json",
    ) -> None:
        told = {**(headers or {}), "content-type": media_type, "content-length": str(len(content))}
        self._content, self._status = content, status
        self._headers = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._content})


def reply(data: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Body:
    """``data`` as JSON."""
    return Body(orjson.dumps(data), headers, status)
