"""Reading the body of a request: no larger and no slower than is allowed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from harness.serve.gateway.api_errors import ApiError
from harness.spec.serving import Limits

if TYPE_CHECKING:
    from starlette.requests import Request


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body; ApiError 413 above ``body_bytes``, 408 if slower than ``body_seconds``, 499 if it breaks off."""
    from starlette.requests import ClientDisconnect

    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > limits.body_bytes:
        raise _too_large(limits)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise _too_large(limits)
                parts.append(part)
    except TimeoutError:
        raise _too_slow(limits) from None
    except ClientDisconnect:
        raise ApiError(499, "the client closed the connection") from None
    return b"".join(parts)


def _too_large(limits: Limits) -> ApiError:
    return ApiError(413, f"the body is larger than {limits.body_bytes} bytes", code="body_too_large")


def _too_slow(limits: Limits) -> ApiError:
    message = f"the body was not complete after {limits.body_seconds:g} seconds"
    return ApiError(408, message, code="body_too_slow", headers={"connection": "close"})
