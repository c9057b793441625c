"""A repository of the test's own: files, commits, the command, and services that answer as the test says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from harness.cli import main

ROOT = Path(__file__).parents[2]
_IDENTITY = {
    "GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@example.com", "GIT_COMMITTER_NAME": "T",
    "GIT_COMMITTER_EMAIL": "t@example.com", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip

SORT = """\
def label(message):
    return "refund" if "money" in message else "other"
"""
ALWAYS_OTHER = SORT.replace('"refund" if "money" in message else "other"', '"other"')
REWORDED = SORT.replace("return", "# The same answers from other bytes.\n    return")
APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: sort
    kind: function
    function: desk.py:label
    inputs: {message: inputs.message}
"""
SUITE = """\
slices:
  money: about money
checks:
  - {id: right, check: label_match, expect: label}
"""
GATES = """\
gates:
  - {id: level, metric: right, rule: at_least, threshold: 0.8}
  - {id: no-worse, metric: right, rule: no_worse_than_baseline_by, threshold: 0.06}
"""


def case_lines(count: int) -> str:
    """Cases of which every second is about money."""
    rows = [
        {
            "id": f"case-{number:03}",
            "inputs": {"message": f"message {number} " + ("about money" if number % 2 else "about socks")},
            "expect": {"label": "refund" if number % 2 else "other"},
            "slices": ["money"] if number % 2 else [],
        }
        for number in range(count)
    ]
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


def http_app(url: str, more: str = "") -> str:
    """An app of one http step; ``more`` holds further lines of the step."""
    step = f"""\
    name: desk
    inputs:
      message: {{kind: string, from: user_message}}
    steps:
      - id: ask
        kind: http
        url: {url}
        body: {{text: "{{{{ inputs.message }}}}"}}
        result: $.label
        cache_s: 1000000000
    """.replace("\n    ", "\n")
    lines = step.replace("    name: desk", "name: desk", 1).rstrip() + "\n"
    return lines + "".join(f"    {line}\n" for line in more.splitlines())


@dataclass(frozen=True)
class Project:
    """A git repository with one app called ``desk``."""

    root: Path

    def write(self, files: dict[str, str]) -> None:
        """Write files (path -> text) as they are."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        (self.root / name).write_text(text.replace(old, new), encoding="utf-8")

    def git(self, *args: str) -> str:
        """Run git here, with an identity of the test's own."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *args],
            capture_output=True,
            text=True,
            env={**os.environ, **_IDENTITY},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "change") -> str:
        """Commit everything and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str = "change") -> None:
        """Go to a new branch."""
        self.git("checkout", "--quiet", "-b", name)

    def run(self, command: str, *args: str) -> int:
        """The command's exit code, run in this process."""
        return main([command, "--root", str(self.root), *args])

    def start(self, command: str, *args: str) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "harness", command, "--root", str(self.root), *args],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def spawn(self, command: str, *args: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of the command as a process of its own."""
        process = self.start(command, *args)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @property
    def runs(self) -> list[Path]:
        """The run folders, oldest first."""
        return sorted(path for path in self.root.glob("reports/*Z-*") if path.is_dir())

    def file(self, name: str) -> Any:
        """A JSON file of the newest run."""
        return orjson.loads((self.runs[-1] / name).read_bytes())

    def rows(self, name: str = "measurements/regression.jsonl") -> list[dict[str, Any]]:
        """A JSON-lines file of the newest run."""
        return [orjson.loads(line) for line in (self.runs[-1] / name).read_bytes().splitlines()]

    def outputs(self) -> list[dict[str, Any]]:
        """The outputs of the newest run."""
        return self.rows("artifacts/regression/outputs.jsonl")

    def gate_named(self, name: str) -> dict[str, Any]:
        """A gate of the newest verdict."""
        return next(gate for gate in self.file("verdict.json")["gates"] if gate["id"] == name)


def make_project(folder: Path, count: int = 60, files: dict[str, str] | None = None) -> Project:
    """A repository whose default branch holds one commit of the app with ``count`` cases."""
    project = Project(folder / "project")
    project.root.mkdir()
    project.write(
        {
            "suites/desk/app.yaml": APP,
            "suites/desk/desk.py": SORT,
            "suites/desk/suite.yaml": SUITE,
            "suites/desk/gates.yaml": GATES,
            "suites/desk/cases/all.jsonl": case_lines(count),
            ".gitignore": "reports/\n__pycache__/\n",
            **(files or {}),
        }
    )
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit("first")
    return project


Reply = tuple[int, bytes, dict[str, str]]


def reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    return status, orjson.dumps(value), {name.replace("_", "-"): text for name, text in headers.items()}


@dataclass
class Stub:
    """A loopback service. ``asked`` collects (path, headers, body) of every request."""

    answer: Callable[[Any], Reply]
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, path: str, headers: dict[str, str], content: bytes) -> Reply:
        """Answer one request and take note of it."""
        body = orjson.loads(content) if content else None
        with self._lock:
            self.asked.append((path, headers, body))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(body)
        finally:
            with self._lock:
                self._now -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is part of the tests."""


@contextmanager
def serving(answer: Callable[[Any], Reply]) -> Iterator[Stub]:
    """Serve ``answer(body)`` on loopback; an answer that raises ConnectionError hangs up."""
    stub = Stub(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status, data, more = stub.respond(self.path, headers, content)
            except ConnectionError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": str(len(data)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def sort(body: Any) -> Reply:
    """What the function of the sample app says, as a service."""
    return reply({"label": "refund" if "money" in body["text"] else "other"})


def wait_for(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Send SIGINT once; exit code, standard output and standard error."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err
