"""Request ids, and what the server's log says of failures under them."""

from __future__ import annotations

import logging
import re
import uuid
from typing import TYPE_CHECKING, Any

from harness.errors import SignoffError
from harness.serve.gateway.api_errors import ApiError, as_api_error
from harness.serve.gateway.served import BrokenStepError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger("signoff.gateway")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def report(problem: BaseException, request_id: str) -> None:
    """Log what is the server's fault: what callers are not told, and of the unforeseen where it happened."""
    if isinstance(problem, ApiError) or as_api_error(problem).status < 500:
        return
    if isinstance(problem, BrokenStepError):
        _log.error("request %s failed: %s: %s", request_id, problem, problem.reason)
    elif isinstance(problem, SignoffError):
        _log.error("request %s failed: %s", request_id, problem)
    else:
        _log.error("request %s failed: %s", request_id, type(problem).__name__, exc_info=problem)


class RequestIds:
    """Gives every request an id: the caller's ``x-request-id`` if it is a plain word, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id, and put it on the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        await self._app(scope, receive, answer)
