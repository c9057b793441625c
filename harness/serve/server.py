"""Running a gateway: in this process until stopped, or in a child process that lives as long as its parent."""

from __future__ import annotations

import http.client
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from harness.errors import SignoffError
from harness.spec.serving import Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"
GRACE_S = 20.0
"""How long answers in flight may take to finish once the server was asked to stop."""
_CHILD_GRACE_S = 5.0
_LOG_LINES = 15


def serve(
    app: ASGIApp,
    host: str = LOOPBACK,
    port: int = 8000,
    *,
    sock: socket.socket | None = None,
    limits: Limits | None = None,
    grace_s: float = GRACE_S,
    notice_s: float = 0.0,
) -> None:
    """Serve ``app`` until the process is asked to stop (Ctrl-C or SIGTERM), and let answers in flight finish first.

    ``sock``, already bound, wins over host. Asked a second time it cuts them off and raises KeyboardInterrupt.
    """
    server = serving(app, host, port, limits=limits, grace_s=grace_s, notice_s=notice_s)
    server.run(sockets=None if sock is None else [sock])
    if server.force_exit:
        raise KeyboardInterrupt


def serving(
    app: ASGIApp,
    host: str = LOOPBACK,
    port: int = 0,
    *,
    limits: Limits | None = None,
    grace_s: float = _CHILD_GRACE_S,
    notice_s: float = 0.0,
) -> Any:
    """The uvicorn server for ``app``, not started. One worker: the engine's memory is not shared.

    ``limits`` say how long a client may take (headers, silence, reading). Once asked to stop, ``draining(scope)`` is
    true, new connections are refused after ``notice_s`` seconds, and answers in flight have ``grace_s`` to finish.
    """
    import uvicorn

    from harness.serve.gateway.connection import Connection
    from harness.serve.gateway.drain import Drain
    from harness.serve.gateway.draining_server import DrainingServer

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=partial(Connection, limits=limits or Limits()),  # type: ignore[arg-type]
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=math.ceil(grace_s),
    )
    return DrainingServer(config, Drain(), notice_s)


class LocalServer:
    """A gateway in a child process on a free loopback port; a context manager.

    ``target`` (``package.module:function``) is called in the child with ``args`` (plain JSON) as keyword arguments
    and returns the ASGI app. Output goes to the file ``log``. The child ends when the parent does, however that
    ends: it holds the other end of a pipe. (The kernel's parent-death signal would not do: it fires when the
    *thread* that started the child ends.)
    """

    def __init__(
        self, target: str, args: Mapping[str, Any] | None = None, *, log: Path, start_timeout_s: float = 180.0
    ) -> None:
        self._order: dict[str, Any] = {
            "target": target,
            "args": dict(args or {}),
            "path": [str(entry) for entry in sys.path],
        }
        self._log, self._timeout = log, start_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The root of the API, without a slash at its end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The child's process id, None before the start and after the end."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._timeout
        told, tell = os.pipe()
        try:
            self._start(tell)
            os.close(tell)
            self.port = self._wait_for_port(told, deadline)
            self._wait_for_health(deadline)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise SignoffError, with exit code and last lines of the log, if the child is no longer running."""
        if self._child is None:
            raise SignoffError("the server is not running: use it inside its with statement")
        code = self._child.poll()
        if code is not None:
            raise SignoffError(f"the server process ended with {_how(code)}; {self._last_lines()}")

    def stop(self) -> None:
        """End the child: ask it, wait a few seconds, then kill it. Repeated calls do nothing."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(2 * _CHILD_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _start(self, tell: int) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        order = orjson.dumps({**self._order, "tell": tell}) + b"\n"
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-c", "from harness.serve.server_child import main; main()"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(tell,),
                env=self._environment(),
            )
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(order)
            self._child.stdin.flush()
        except BrokenPipeError:
            self._child.wait()
            self.check()

    def _environment(self) -> dict[str, str]:
        # Set here, because the target may import torch before anything of ours could say that idle threads sleep.
        calm = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
        return {**calm, **os.environ, "PYTHONPATH": os.pathsep.join(self._order["path"])}

    def _wait_for_port(self, told: int, deadline: float) -> int:
        ready, _, _ = select.select([told], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise SignoffError(f"the server did not start within {self._timeout:g} s; {self._last_lines()}")
        line = os.read(told, 64)
        if not line:
            assert self._child is not None
            self._child.wait()
            self.check()
        return int(line)

    def _wait_for_health(self, deadline: float) -> None:
        while True:
            self.check()
            if _healthy(self.port):
                return
            if time.monotonic() > deadline:
                raise SignoffError(f"{self.url}/health did not answer in {self._timeout:g} s; {self._last_lines()}")
            time.sleep(0.02)

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:] if self._log.is_file() else []
        return (
            f"last lines of {self._log}:\n" + "\n".join(f"  {line}" for line in lines) if lines else "its log is empty"
        )


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
