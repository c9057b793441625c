"""A repository over the tiny model, and ``signoff serve`` on it as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.serve.engine.hub import ENGINE_REVISION
from harness.serve.engine.tiny import save_tiny
from harness.store import convert_once

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
SHA256 = "ab" * 32
MODEL = f"""\
name: tiny
source: path:never-read
sha256: {SHA256}
licence: MIT
context: 2048
"""
PROMPT = """\
---
name: {step}
metadata:
  version: 1.0.0
inputs:
  message: {{kind: string}}
---
{text}
"""
DESK = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: reply
    kind: llm
    prompt: desk/reply/1.0.0
    model: tiny
    inputs: {message: inputs.message}
    decoding: {max_tokens: 12}
"""
ECHO = """\
name: echo
inputs:
  message: {kind: string, from: user_message}
  tier: {kind: string, required: false}
steps:
  - id: say
    kind: function
    function: say.py:say
    inputs: {message: inputs.message}
    deadline_s: 0.5
"""
SAY = """\
import asyncio


async def say(message):
    if message == "sleep":
        await asyncio.sleep(60)
    if message.startswith("raise "):
        raise ValueError(message)
    return "you said " + message
"""


def write_repo(root: Path, cache: Path | None, **more: str) -> Path:
    """Write the apps ``desk`` (one model step) and ``echo`` (one function) to ``root``, the tiny model to ``cache``.

    ``more`` are further files, their paths with ``__`` for ``/``. Without ``cache`` the model cannot be loaded.
    """
    files = {
        "models/tiny/model.yaml": MODEL,
        "prompts/desk/reply/1.0.0.prompty": PROMPT.format(step="reply", text="user:\n{{ message }}"),
        "suites/desk/app.yaml": DESK,
        "suites/echo/app.yaml": ECHO,
        "suites/echo/say.py": SAY,
        **{name.replace("__", "/"): text for name, text in more.items()},
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if cache is not None:
        convert_once(f"tiny-{SHA256[:16]}-r{ENGINE_REVISION}", cache, save_tiny)
    return root


class Served:
    """``signoff serve`` as a process; what it says is read on the way. ``url`` ends in ``/v1``."""

    def __init__(self, root: Path, cache: Path, *args: str, **environment: str) -> None:
        self._said: list[str] = []
        command = [sys.executable, "-m", "harness", "serve", "--root", str(root), "--port", "0", *args]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "SIGNOFF_CACHE": str(cache), "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._wait_for_url()

    @property
    def said(self) -> str:
        """Everything on standard error so far."""
        return "".join(self._said)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(re.findall(r":(\d+)/", self.url)[0])

    def wait_until_ready(self) -> None:
        """Wait for a 200 from ``/ready``."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url[: -len("/v1")] + "/ready") as answer:
                assert answer.status == 200
                return
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Ask it to stop, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = re.search(r"at (http://\S+/v1)", self.said)
            if found:
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop(signal.SIGKILL)
        raise AssertionError(self.said)


@contextlib.contextmanager
def serving(root: Path, cache: Path, *args: str, **environment: str) -> Iterator[Any]:
    """A ready server that is gone after the block."""
    served = Served(root, cache, *args, **environment)
    try:
        served.wait_until_ready()
        yield served
    finally:
        served.stop(signal.SIGKILL)
