"""What a server must survive: being killed, clients that vanish, and their number."""

from __future__ import annotations

import random
import signal
import socket
import sqlite3
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.serve.served_repo import PATIENCE_S, Served, serving, write_repo


def posted(port: int, body: dict[str, Any]) -> socket.socket:
    """A request that has been sent and not read."""
    content = orjson.dumps(body)
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    sock.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    return sock


def chat(text: str, **more: Any) -> dict[str, Any]:
    """A streaming request to the tiny model."""
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": True, **more}


def answer(served: Served, text: str) -> str:
    """The app's answer, whole."""
    body = orjson.dumps({"model": "desk", "messages": [{"role": "user", "content": text}]})
    request = urllib.request.Request(
        f"{served.url}/chat/completions", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as found:
        return str(orjson.loads(found.read())["choices"][0]["message"]["content"])


def test_killed_in_mid_stream_it_starts_again(tmp_path: Path) -> None:
    """After kill -9 in the middle of streams the caches are whole, and a new server answers as the old one did."""
    cache = tmp_path / "cache"
    root = write_repo(tmp_path / "repo", cache)
    said = []
    for _ in range(3):
        with serving(root, cache) as served:
            said.append(answer(served, "hello"))
            streams = [posted(served.port, chat("go on", max_tokens=1500, seed=number)) for number in range(8)]
            assert streams[0].recv(4096).startswith(b"HTTP/1.1 200")
            served.stop(signal.SIGKILL)
            for stream in streams:
                stream.close()
    assert len(set(said)) == 1
    files = list(tmp_path.rglob("*.sqlite"))
    assert files
    for file in files:
        with sqlite3.connect(file) as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_terminated_server_finishes_what_it_began(tmp_path: Path) -> None:
    """SIGTERM in the middle of a stream lets that stream end with its end mark; the exit code is 0."""
    cache = tmp_path / "cache"
    served = Served(write_repo(tmp_path / "repo", cache), cache, "--no-traces")
    served.wait_until_ready()
    stream = posted(served.port, chat("go on", max_tokens=300))
    seen = stream.recv(4096)
    served.process.send_signal(signal.SIGTERM)
    while part := stream.recv(65536):
        seen += part
    assert b"[DONE]" in seen
    assert served.process.wait(PATIENCE_S) == 0
    served.stop()
    stream.close()


def _vanish(port: int, count: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        body = chat("x" * rng.randint(1, 60), max_tokens=rng.randint(1, 60), stream=rng.random() < 0.7)
        sock = posted(port, body)
        wait = rng.choice(("at once", "soon", "after a piece", "to the end"))
        if wait == "soon":
            time.sleep(rng.random() * 0.05)
        elif wait == "after a piece":
            sock.recv(1)
        elif wait == "to the end":
            while b"[DONE]" not in (part := sock.recv(65536)) and part and b'"usage"' not in part:
                pass
        if rng.random() < 0.3:
            # A reset instead of a farewell.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.close()


def _status(served: Served) -> dict[str, int]:
    """Threads, open files and kilobytes of memory of the process."""
    folder = Path("/proc") / str(served.process.pid)
    lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "threads": int(lines["Threads"]),
        "files": len(list((folder / "fd").iterdir())),
        "kilobytes": int(lines["VmRSS"].split()[0]),
    }


def _idle(served: Served) -> bool:
    with urllib.request.urlopen(f"{served.url[: -len('/v1')]}/metrics", timeout=PATIENCE_S) as found:
        lines = found.read().decode().splitlines()
    figures = [line for line in lines if line.startswith(("signoff_engine_requests_", "signoff_requests_in_flight"))]
    assert len(figures) >= 2
    return all(float(line.rsplit(" ", 1)[1]) == 0 for line in figures)


@pytest.mark.parametrize(
    ("clients", "requests"), [(30, 150), pytest.param(200, 2000, marks=pytest.mark.slow)], ids=["150", "2000"]
)
def test_clients_that_vanish_leave_nothing_behind(tmp_path: Path, clients: int, requests: int) -> None:
    """After many clients that disconnect at random no slot, thread or file is left, and memory has not grown."""
    cache = tmp_path / "cache"
    with serving(write_repo(tmp_path / "repo", cache), cache, "--no-traces") as served:
        _vanish(served.port, 60, seed=99)
        while not _idle(served):
            time.sleep(0.05)
        before = _status(served)
        each = requests // clients
        crowd = [threading.Thread(target=_vanish, args=(served.port, each, seed)) for seed in range(clients)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        deadline = time.monotonic() + PATIENCE_S
        while not _idle(served) or _status(served)["files"] > before["files"] + 2:
            assert time.monotonic() < deadline, (before, _status(served))
            time.sleep(0.1)
        after = _status(served)
        # Pools of threads fill up to their size and stay.
        assert after["threads"] <= before["threads"] + 8
        assert after["kilobytes"] < before["kilobytes"] + 80_000
        assert answer(served, "hello")
