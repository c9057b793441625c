"""The child's side of ``LocalServer``: build the app that was ordered, serve it, end when the parent is gone."""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import orjson

from harness.serve.server import LOOPBACK, serving

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_GRACE_S = 5.0
_STDIN = 0


def main() -> None:
    """Read the order (one line of JSON on standard input), serve, and tell the port once the app is built."""
    order = orjson.loads(_first_line())
    # The watcher starts before the app is built, because loading a model may outlast an impatient parent.
    stop = _Stop()
    threading.Thread(target=stop.when_orphaned, daemon=True).start()
    app = _build(order["target"], order["args"])
    # Naming the protocol matters: asyncio switches Nagle's delay (40 ms per answer) off only where it is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind((LOOPBACK, 0))
        stop.server = serving(app)
        os.write(order["tell"], b"%d" % sock.getsockname()[1])
        os.close(order["tell"])
        stop.server.run(sockets=[sock])


def _first_line() -> bytes:
    """The first line of standard input, read without Python's buffer: a thread that waits in its lock would make
    the interpreter abort when the main thread ends.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(_STDIN, 1)
        if not part:
            break
        line += part
    return line


def _build(target: str, args: dict[str, Any]) -> ASGIApp:
    module, _, name = target.partition(":")
    app: ASGIApp = getattr(importlib.import_module(module), name)(**args)
    return app


class _Stop:
    server: Any = None

    def when_orphaned(self) -> None:
        """Wait for the end of standard input, then stop; by force if answers in flight take too long."""
        while os.read(_STDIN, 64):
            pass
        if self.server is not None:
            self.server.should_exit = True
            time.sleep(_GRACE_S)
        os._exit(0)
