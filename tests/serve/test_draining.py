"""A server that is asked to stop finishes what it has begun, takes nothing new, and ends at once when asked again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.run.project import ROOT
from tests.serve.running import PATIENCE_S, all_of, answer_of, comes_true

CHILD = """
import sys, threading, time
from pathlib import Path
from harness.serve.server import serve
from harness.spec.serving import Limits
from tests.serve.running import Running

go, grace_s, notice_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
one = Running(Limits())

def wait_for_go():
    while not go.exists():
        time.sleep(0.02)
    one.go.set()

threading.Thread(target=wait_for_go, daemon=True).start()
print(one.port, flush=True)
serve(one.app, sock=one.sock, grace_s=grace_s, notice_s=notice_s)
"""


@dataclass(frozen=True)
class Child:
    """A server in its own process; the file ``go`` lets ``/wait`` answer."""

    process: subprocess.Popen[bytes]
    port: int
    go: Path
    log: Path

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        client.settimeout(PATIENCE_S)
        return client

    def ask(self, path: str) -> socket.socket:
        client = self.connect()
        client.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client

    def waiting(self) -> socket.socket:
        """A request that the server is busy with."""
        client = self.ask("wait")
        # The server reads in order: this answer is given after the request above was begun.
        with self.ask("health") as other:
            assert b"fine" in answer_of(other)
        return client

    def refuses(self) -> bool:
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError), self.connect():
            return False
        return True


@pytest.fixture
def child(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Child]:
    """A child with the grace and the notice (seconds) of the test's parameter."""
    grace_s, notice_s = getattr(request, "param", (600, 0))
    go, log = tmp_path / "go", tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(go), str(grace_s), str(notice_s)],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    try:
        yield Child(process, int(process.stdout.readline()), go, log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_answer_in_flight_is_finished(child: Child, sent: signal.Signals) -> None:
    """After the signal nothing new is accepted, the answer in flight arrives whole, and the process ends with 0."""
    client = child.waiting()
    child.process.send_signal(sent)
    assert comes_true(child.refuses)
    child.go.touch()
    assert all_of(client).endswith(b"went")
    client.close()
    assert child.process.wait(PATIENCE_S) == 0
    assert child.log.read_text().startswith("asked to stop: 1 answers in flight have 600 s to finish")


def test_idle_connections_do_not_hold_it(child: Child) -> None:
    """Connections on which nothing is in flight are closed at once, those that never said anything too."""
    with child.ask("health") as used, child.connect(), child.connect() as half:
        assert b"fine" in answer_of(used)
        half.sendall(b"GET /heal")
        child.process.terminate()
        assert child.process.wait(PATIENCE_S) == 0
        assert all_of(used) == b""


def test_a_second_signal_ends_it_at_once(child: Child) -> None:
    """Asked twice, it cuts off what is in flight, and says so by its exit code; its log has no traceback."""
    client = child.waiting()
    child.process.terminate()
    assert comes_true(child.refuses)
    child.process.terminate()
    assert all_of(client) == b""
    client.close()
    assert child.process.wait(PATIENCE_S) != 0
    assert "ASGI" not in child.log.read_text()


@pytest.mark.parametrize("child", [(1, 0)], indirect=True)
def test_what_takes_longer_than_the_grace_is_cut_off(child: Child) -> None:
    """An answer that is not finished in time is given up: the process ends, and logs how many, without a traceback."""
    client = child.waiting()
    child.process.terminate()
    assert all_of(client) == b""
    client.close()
    assert child.process.wait(PATIENCE_S) == 0
    log = child.log.read_text()
    assert "Cancel 1 running" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("child", [(600, 600)], indirect=True)
def test_it_is_not_ready_before_it_refuses(child: Child) -> None:
    """With a notice, a load balancer sees that the server is not ready while it still accepts and answers."""
    with child.ask("ready") as client:
        assert answer_of(client).startswith(b"HTTP/1.1 200")
    child.process.terminate()

    def not_ready() -> bool:
        with child.ask("ready") as client:
            return answer_of(client).startswith(b"HTTP/1.1 503")

    assert comes_true(not_ready)
    with child.ask("health") as client:
        assert b"fine" in answer_of(client)
    child.process.terminate()
    assert child.process.wait(PATIENCE_S) != 0


def test_a_reader_that_stopped_does_not_hold_it_beyond_the_grace(child: Child) -> None:
    """A stream that nobody reads is in flight; the second signal ends the process all the same."""
    with child.ask("stream") as client:
        assert client.recv(1)
        time.sleep(0.1)
        child.process.terminate()
        assert comes_true(child.refuses)
        child.process.terminate()
        assert child.process.wait(PATIENCE_S) != 0
