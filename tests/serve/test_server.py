"""The gateway in a child process starts, answers, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from harness.errors import SignoffError
from harness.serve.server import LocalServer

TARGETS = """
from __future__ import annotations

import os


def app(greeting: str) -> object:
    from harness.serve.gateway.routes import create_app

    print(greeting, flush=True)
    return create_app({}, {})


def broken() -> object:
    raise RuntimeError("no model here")


def quitting() -> object:
    os._exit(7)
"""

PARENT = """
import sys, time
from pathlib import Path
from harness.serve.server import LocalServer
server = LocalServer("served_targets:app", {"greeting": "hi"}, log=Path(sys.argv[1]))
server.__enter__()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that child processes can import."""
    (tmp_path / "served_targets.py").write_text(TARGETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that has ended but was not waited for still answers to signals.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _ends(pid: int) -> bool:
    """Whether a process ends by itself within 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not _runs(pid):
            return True
        time.sleep(0.05)
    return False


def test_it_answers_and_ends_with_the_block(tmp_path: Path) -> None:
    """Inside the block the server answers on its own port; after it the process is gone and its output is kept."""
    log = tmp_path / "log" / "server.log"
    with LocalServer("served_targets:app", {"greeting": "good day"}, log=log) as server:
        pid = server.pid
        assert pid is not None
        with urllib.request.urlopen(f"{server.url}/health") as answer:
            assert answer.status == 200
        server.check()
    assert not _runs(pid)
    assert "good day" in log.read_text()


def test_two_servers_have_two_ports(tmp_path: Path) -> None:
    """Servers that run at once do not meet."""
    with (
        LocalServer("served_targets:app", {"greeting": "a"}, log=tmp_path / "a") as first,
        LocalServer("served_targets:app", {"greeting": "b"}, log=tmp_path / "b") as second,
    ):
        assert first.port != second.port


@pytest.mark.parametrize(("target", "code", "line"), [("broken", 1, "no model here"), ("quitting", 7, "empty")])
def test_a_child_that_dies_at_start_is_reported(tmp_path: Path, target: str, code: int, line: str) -> None:
    """A child that ends before it serves is an error with its exit code and the end of its log."""
    with (
        pytest.raises(SignoffError, match=f"exit code {code}") as failed,
        LocalServer(f"served_targets:{target}", log=tmp_path / "log"),
    ):
        pass
    assert line in str(failed.value)


def test_a_child_that_dies_later_is_reported(tmp_path: Path) -> None:
    """A child that was killed while serving is an error at the next check."""
    with LocalServer("served_targets:app", {"greeting": "x"}, log=tmp_path / "log") as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(SignoffError, match="signal 9"):
            for _ in range(400):
                server.check()
                time.sleep(0.05)


def test_the_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """Even a parent that is killed without warning leaves no server behind."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _runs(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _ends(child)


def test_a_start_that_takes_too_long_is_reported(tmp_path: Path) -> None:
    """A server that is not ready in time is ended and reported."""
    server = LocalServer("served_targets:app", {"greeting": "x"}, log=tmp_path / "log", start_timeout_s=0.01)
    with pytest.raises(SignoffError, match=r"within 0\.01 s"), server:
        pass
    assert server.pid is None
