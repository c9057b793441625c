"""Server-sent events as endpoints really send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from harness.serve.protocol import OverloadedError
from harness.serve.remote.address import Endpoint
from harness.serve.remote.transport import EndpointError, error_text, fault

_DONE = "[DONE]"
_OVERLOADED = (429, 503, "429", "503", "rate_limit_exceeded")
_LONGEST_LINE = 4 * 2**20


class EventReader:
    """Makes chunks of the pieces that the network delivers, which break anywhere, also inside a character.

    ``done`` is True once ``[DONE]`` was read; what comes after it is not looked at. Comments and fields other than
    ``data`` are passed over.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._line: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self.done = False

    def feed(self, piece: bytes) -> Iterator[Any]:
        """The JSON of every event that ``piece`` completes, one by one: what came before a fault is handed out.

        EndpointError for what is no event; the error that an error event tells of.
        """
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join((*self._line, end)).rstrip(b"\r")
            self._line, self._size = [], 0
            yield from self._take(line)
        self._line.append(rest)
        self._size += len(rest)
        if self._size > _LONGEST_LINE:
            raise fault(self._endpoint, f"a line of the stream is over {_LONGEST_LINE} bytes")

    def end(self) -> Iterator[Any]:
        """The last event, if the stream ended without the blank line that closes it."""
        return self.feed(b"\n\n")

    def _take(self, line: bytes) -> Iterator[Any]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        if line or not self._data or self.done:
            return
        data, self._data = b"\n".join(self._data), []
        if data.strip() == _DONE.encode():
            self.done = True
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as problem:
            raise fault(self._endpoint, f"an event is not JSON: {data[:200].decode(errors='replace')}") from problem
        if isinstance(chunk, dict) and chunk.get("error"):
            raise _failure(chunk, self._endpoint)
        yield chunk


def _failure(chunk: dict[str, Any], endpoint: Endpoint) -> EndpointError | OverloadedError:
    said, _ = error_text(orjson.dumps(chunk))
    error = chunk["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else None
    message = f"the stream broke off with an error: {said}"
    if code in _OVERLOADED:
        return OverloadedError(f"{endpoint.label}: {endpoint.scrub(message)}", 1.0)
    return fault(endpoint, message, status=status)
