"""One HTTP request as it is written, byte for byte: probes send what no client library lets through."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 15.0
_MOST = 4 * 2**20
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. ``status`` 0: the connection was closed without an answer; -1: none came in time."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first header of that name, empty when there is none."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def text(self) -> str:
        """Headers and body as text."""
        lines = [f"{key}: {value}" for key, value in self.headers]
        return "\n".join([*lines, self.body.decode("utf-8", "replace")])

    @property
    def told(self) -> str:
        """The reply in a few words."""
        words = {0: "the connection was closed", -1: f"no answer within {TIMEOUT_S:g} s"}
        return words.get(self.status, f"HTTP {self.status}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``target`` and ``headers`` are sent as they are; ``claims`` is the content-length that is told."""

    method: str
    target: str
    headers: Sequence[Header] = ()
    body: bytes = b""
    claims: int | None = None
    host: str | None = None

    def encoded(self, host: str) -> bytes:
        """The bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host or host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        chunked = any(name.lower() == "transfer-encoding" for name, _ in self.headers)
        if (self.body or self.claims is not None or self.method in ("POST", "PUT", "PATCH")) and not chunked:
            lines.append(f"Content-Length: {len(self.body) if self.claims is None else self.claims}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + self.body


def send(base: str, request: Request) -> Reply:
    """Send one request to ``base``; OSError when the server cannot be reached at all."""
    parts = urlsplit(base)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    with contextlib.ExitStack() as stack:
        sock: socket.socket = stack.enter_context(socket.create_connection((host, port), timeout=TIMEOUT_S))
        if parts.scheme == "https":
            sock = stack.enter_context(ssl.create_default_context().wrap_socket(sock, server_hostname=host))
        # A server that has seen enough may hang up while the rest is still being written; its answer counts.
        with contextlib.suppress(ConnectionError, TimeoutError):
            sock.sendall(request.encoded(parts.netloc))
        return _read(sock)


def _read(sock: socket.socket) -> Reply:
    data, end = b"", time.monotonic() + TIMEOUT_S
    try:
        while len(data) < _MOST:
            sock.settimeout(max(0.01, end - time.monotonic()))
            part = sock.recv(65_536)
            if not part:
                break
            data += part
    except ConnectionError:
        pass
    except TimeoutError:
        if not data:
            return Reply(-1)
    return _parsed(data)


def _parsed(data: bytes) -> Reply:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return Reply(0, (), data)
    pairs = (line.partition(":") for line in lines)
    return Reply(int(words[1]), tuple((name.strip().lower(), value.strip()) for name, _, value in pairs), body)
