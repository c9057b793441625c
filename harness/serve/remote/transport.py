"""HTTP to an endpoint: one session for each event loop, and what every failure means to the caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.serve.protocol import OverloadedError, RequestError
from harness.serve.remote.address import Endpoint

TRANSIENT_STATUS = frozenset({408, 429, 502, 503, 504})
_OVERLOADED = frozenset({429, 503})
_MISTAKES = frozenset({400, 413, 422})
_MOST_BYTES = 64 * 2**20
_LONGEST_WAIT_S = 3600.0
_CONNECTIONS = 256
_SHOWN = 300

_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


class EndpointError(SignoffError):
    """An endpoint did not answer, or not as it should.

    ``transient`` errors may pass when the request is sent again; ``status`` is the HTTP status if there was one;
    ``timed_out`` says that the time for the request was over.
    """

    def __init__(
        self, message: str, *, transient: bool = False, status: int | None = None, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.transient, self.status, self.timed_out = transient, status, timed_out


def fault(endpoint: Endpoint, said: str, *, transient: bool = False, status: int | None = None) -> EndpointError:
    """What went wrong at ``endpoint``, without its key: servers quote what they were sent."""
    return EndpointError(f"{endpoint.where}: {endpoint.scrub(said)}", transient=transient, status=status)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def session() -> aiohttp.ClientSession:
    """The session of the running event loop; ``close_session`` ends it."""
    loop = asyncio.get_running_loop()
    found = _sessions.get(loop)
    if found is None or found.closed:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=60)
        # Cookies would carry something from one caller's request to the next.
        found = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        _sessions[loop] = found
    return found


async def close_session() -> None:
    """Close the running event loop's session, if it has one."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.close()


async def post(
    client: aiohttp.ClientSession,
    endpoint: Endpoint,
    path: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The whole answer to ``body``, with status 200.

    RequestError when the endpoint refuses the request, OverloadedError when it has no room, EndpointError otherwise.
    """
    reply = await exchange(client, endpoint, "POST", path, body, headers)
    if reply.status != 200:
        raise refusal(endpoint, reply)
    return reply


async def exchange(
    client: aiohttp.ClientSession,
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """The whole answer, whatever its status; ``headers`` win over the endpoint's own."""
    async with opened(client, endpoint, method, path, body, headers) as answer:
        return await whole(answer, endpoint)


@asynccontextmanager
async def opened(
    client: aiohttp.ClientSession,
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer whose content is not read yet; leaving hangs up.

    EndpointError, also while reading inside, when the connection fails or the time for the whole request is over.
    """
    try:
        async with client.request(
            method,
            f"{endpoint.base_url}{path}",
            data=None if body is None else orjson.dumps(body),
            headers={**endpoint.headers(), **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s),
            # A redirect would turn the POST into a GET, or take the key to another place.
            allow_redirects=False,
        ) as answer:
            yield answer
    except TimeoutError as problem:
        message = f"{endpoint.where}: no answer within {endpoint.timeout_s or 0:g} s"
        raise EndpointError(message, transient=True, timed_out=True) from problem
    except aiohttp.ClientError as problem:
        lost = isinstance(problem, (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError))
        raise fault(endpoint, f"{type(problem).__name__}: {problem}", transient=lost) from problem


async def whole(answer: aiohttp.ClientResponse, endpoint: Endpoint) -> Reply:
    """The answer with its content."""
    content = b"".join([piece async for piece in pieces(answer, endpoint)])
    return Reply(answer.status, answer.headers, content)


async def pieces(answer: aiohttp.ClientResponse, endpoint: Endpoint) -> AsyncGenerator[bytes, None]:
    """The content as it comes; EndpointError when it is larger than any answer can be."""
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > _MOST_BYTES:
            raise fault(endpoint, f"the answer is over {_MOST_BYTES} bytes")
        yield piece


def refusal(endpoint: Endpoint, reply: Reply) -> EndpointError | OverloadedError | RequestError:
    """The error that a status other than 200 means."""
    status = reply.status
    if status in (401, 403):
        # Such an answer may quote the key, whole or in part.
        hint = f"the key in {endpoint.api_key_env} was refused" if endpoint.api_key_env else "it asks for a key"
        return fault(endpoint, f"HTTP {status}: {hint}", status=status)
    said, param = error_text(reply.content)
    # These two reach whoever sent the request, who need not know where the endpoint is.
    told = f"{endpoint.label}: {endpoint.scrub(f'HTTP {status}: {said}')}"
    if status in _OVERLOADED:
        return OverloadedError(told, retry_after_s(reply.headers))
    if status in _MISTAKES:
        return RequestError(told, param)
    return fault(endpoint, f"HTTP {status}: {said}", transient=status in TRANSIENT_STATUS, status=status)


def error_text(content: bytes) -> tuple[str, str | None]:
    """What an error's body says, and the field that it names; servers differ in the shape."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content[:_SHOWN].decode(errors="replace"), None
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return _short(error), None
    said = next((error[name] for name in ("message", "detail", "error") if error.get(name)), error)
    param = error.get("param")
    return _short(said), param if isinstance(param, str) else None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode(errors="replace")
    return text[:_SHOWN]


def retry_after_s(headers: Mapping[str, str], default: float = 1.0) -> float:
    """When asking again makes sense: seconds or a date in ``retry-after``, or ``retry-after-ms``."""
    try:
        if "retry-after-ms" in headers:
            wait = float(headers["retry-after-ms"]) / 1000
        else:
            wait = float(headers.get("retry-after", default))
    except ValueError:
        wait = _until(headers.get("retry-after", ""), default)
    # NaN fails both comparisons.
    return min(wait, _LONGEST_WAIT_S) if wait >= 0 else default


def _until(date: str, default: float) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError):
        return default
