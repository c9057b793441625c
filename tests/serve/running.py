"""A real server in a thread over a small application, and clients that misbehave on plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.body import read_body
from harness.serve.gateway.drain import draining
from harness.serve.server import serving
from harness.spec.serving import Limits

PATIENCE_S = 20.0
"""How long a test waits for what must happen, before it fails."""


class _Closing(StreamingResponse):
    """starlette leaves the end of a generator to the collector of garbage: its ``finally`` may come much later."""

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()


class Running:
    """The server: ``/health``, ``/ready``, ``/echo`` (the body's length), ``/early`` (leaves the body unread),
    ``/stream`` (64 KiB pieces without end), ``/big`` (``size`` bytes at once), ``/wait`` (until ``go`` is set)."""

    def __init__(self, limits: Limits, send_buffer: int | None = None, **more: Any) -> None:
        self.limits, self.size = limits, 12 * 2**20
        self.streams: list[threading.Event] = []
        self.bigs: list[bool] = []
        self.kept: list[socket.socket] = []
        self.go, self.waiting = threading.Event(), threading.Event()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        if send_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port = self.sock.getsockname()[1]
        self.app = self._app()
        self.server = serving(self.app, limits=limits, **more)
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.sock]), daemon=True)
        self.loop: asyncio.AbstractEventLoop | None = None

    def _app(self) -> Starlette:
        paths = ("health", "ready", "echo", "early", "stream", "big", "wait")
        return Starlette(
            routes=[Route(f"/{path}", getattr(self, f"_{path}"), methods=["GET", "POST"]) for path in paths]
        )

    async def _health(self, _: Request) -> Response:
        self.loop = asyncio.get_running_loop()
        return Response("fine")

    async def _ready(self, request: Request) -> Response:
        return Response(status_code=503 if draining(request.scope) else 200)

    async def _echo(self, request: Request) -> Response:
        try:
            return Response(str(len(await read_body(request, self.limits))))
        except ApiError as error:
            return error.response()

    async def _early(self, _: Request) -> Response:
        return Response("early")

    async def _big(self, _: Request) -> Response:
        return Response(b"x" * self.size, background=BackgroundTask(self.bigs.append, True))

    async def _wait(self, _: Request) -> Response:
        self.waiting.set()
        while not self.go.is_set():
            await asyncio.sleep(0.02)
        return Response("went")

    async def _stream(self, _: Request) -> Response:
        ended = threading.Event()
        self.streams.append(ended)

        async def pieces():
            try:
                while True:
                    yield b"x" * 65_536
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return _Closing(pieces())

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A new connection; a small receive buffer makes a reader that pauses felt sooner."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", self.port))
        return client

    def healthy(self) -> bool:
        """Whether the server answers a well-behaved client."""
        with self.connect() as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return all_of(client).startswith(b"HTTP/1.1 200")

    def connections(self) -> int:
        """How many connections the server holds."""
        return len(self.server.server_state.connections)

    def unread(self) -> list[int]:
        """What each connection has written and its client has not taken."""
        return [each.transport.get_write_buffer_size() for each in list(self.server.server_state.connections)]

    def tasks(self) -> int:
        """How many tasks the server's loop has, without the one that counts."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(PATIENCE_S)


@contextlib.contextmanager
def running(limits: Limits, **more: Any) -> Iterator[Running]:
    """Run the server for the length of the block; it must have ended soon after."""
    one = Running(limits, **more)
    one.thread.start()
    try:
        assert one.healthy()
        yield one
    finally:
        one.go.set()
        one.server.handle_exit(0, None)
        one.server.handle_exit(0, None)
        one.thread.join(PATIENCE_S)
        one.sock.close()
    assert not one.thread.is_alive()


def all_of(client: socket.socket) -> bytes:
    """Everything up to the end of the connection; what came before it was reset is kept too."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def answer_of(client: socket.socket) -> bytes:
    """One answer with a content length, the connection stays open."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65_536)
        assert part, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += client.recv(65_536)
    return head + b"\r\n\r\n" + body


def trickled(client: socket.socket, byte: bytes, every_s: float = 0.03) -> bytes:
    """Send one byte after another until the server closes; what it answered. Fails if it never closes."""
    client.setblocking(False)
    got = b""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            client.send(byte)
        with contextlib.suppress(BlockingIOError):
            try:
                part = client.recv(65_536)
            except ConnectionError:
                return got
            if not part:
                return got
            got += part
        time.sleep(every_s)
    message = f"the server still listens after {PATIENCE_S} s; it answered {got!r}"
    raise AssertionError(message)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether a condition holds within a generous time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
