"""A service that streams as the test says, and writes down when it really sent what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

DIGEST = "d1" * 32
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Script:
    """How one request is answered: seconds before the first token and between tokens, and what goes wrong.

    ``cut`` closes the connection after so many tokens, ``error`` is an error event after them, ``hang`` says nothing
    more after them, ``linger`` leaves the body open after ``[DONE]``.
    """

    first_s: float = 0.0
    gap_s: float = 0.0
    tokens: int = 3
    usage: bool = True
    status: int = 200
    digest: str = DIGEST
    cache: str = ""
    steps: Mapping[str, Any] | None = None
    cut: int | None = None
    error: int | None = None
    hang: int | None = None
    linger: bool = False
    role_first: bool = True
    channel: str = "content"
    chunked: bool = True


@dataclass
class Sent:
    """What one request got, in seconds of the monotonic clock."""

    model: str
    body: Any
    headers: Mapping[str, str]
    came: float
    port: int
    role: float | None = None
    tokens: list[float] = field(default_factory=list)
    done: float | None = None


@dataclass
class Streaming:
    """The running service. ``sent`` grows as requests come; ``script`` may be replaced at any time."""

    script: Callable[[Any], Script]
    sent: list[Sent] = field(default_factory=list)
    url: str = ""
    stop: Callable[[], None] = lambda: None


def _event(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return b"data: " + orjson.dumps({"choices": [choice], **more}) + b"\n\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Streaming
    over: threading.Event

    def do_POST(self) -> None:
        if self.over.is_set():
            # A connection outlives the listening socket; a dead server has neither.
            self.close_connection = True
            return
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        note = Sent(body["model"], body, headers, time.monotonic(), self.client_address[1])
        self.service.sent.append(note)
        script = self.service.script(body)
        if script.status != 200:
            self._whole(script.status, b'{"error": {"message": "no room"}}')
            return
        self._head(script)
        self._stream(script, note)

    def _whole(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _head(self, script: Script) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        if script.digest:
            self.send_header("x-signoff-digest", script.digest)
        if script.cache:
            self.send_header("x-signoff-cache", script.cache)
        self.send_header(*(("transfer-encoding", "chunked") if script.chunked else ("connection", "close")))
        self.end_headers()
        self._chunked = script.chunked
        self.close_connection = not script.chunked

    def _say(self, data: bytes) -> float:
        # Noted before it is written: afterwards the client may have read it already.
        at = time.monotonic()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.wfile.flush()
        return at

    def _stream(self, script: Script, note: Sent) -> None:
        if script.role_first:
            note.role = self._say(_event({"role": "assistant", "content": ""}))
        for number in range(script.tokens + 1):
            if script.hang == number:
                self.over.wait(60)
                self.close_connection = True
                return
            if script.cut == number:
                self.close_connection = True
                return
            if script.error == number:
                self._say(b'data: {"error": {"message": "out of memory"}}\n\n')
                self.close_connection = True
                return
            if number < script.tokens:
                self.over.wait(script.gap_s if number else script.first_s)
                value: Any = [{"function": {"name": "f"}}] if script.channel == "tool_calls" else "w "
                note.tokens.append(self._say(_event({script.channel: value})))
        told = {"signoff": {"steps": dict(script.steps)}} if script.steps is not None else {}
        end = _event({}, "stop", **told)
        counts = {"prompt_tokens": 7, "completion_tokens": script.tokens, "prompt_tokens_details": {"cached_tokens": 4}}
        end += b"data: " + orjson.dumps({"choices": [], "usage": counts}) + b"\n\n" if script.usage else b""
        note.done = self._say(end + DONE)
        if script.linger:
            self.over.wait(60)
        if self._chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def streaming(script: Script | Callable[[Any], Script]) -> Iterator[Streaming]:
    """The service on loopback; ``script`` answers every request, or says how by its body."""
    service = Streaming(script if callable(script) else lambda _body: script)
    over = threading.Event()
    handler = type("Handler", (_Handler,), {"service": service, "over": over})
    server = _Server(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    stopped: list[bool] = []

    def stop() -> None:
        over.set()
        if not stopped:
            stopped.append(True)
            server.shutdown()
            server.server_close()
            thread.join(5)

    service.stop = stop
    try:
        yield service
    finally:
        stop()
