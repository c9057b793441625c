"""The load generator: Locust in a child process, because gevent must not replace this process's library."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import SignoffError
from harness.load.plan import GONE_AFTER, LoadPlan
from harness.load.sample import Sample
from harness.store import read_lines

_POLL_S = 0.1
_GRACE_S = 5.0
_LOG_LINES = 6


@dataclass(frozen=True, slots=True)
class Generated:
    """The samples by number, and why there are not as many as planned (empty if there are)."""

    samples: Mapping[int, Sample]
    broken: str = ""


def require_locust() -> None:
    """SignoffError when locust is not installed."""
    if find_spec("locust") is None:
        raise SignoffError("the load stage needs locust, which is not installed: pip install 'signoff[load]'")


@dataclass
class Generator:
    """Runs a plan. ``folder`` takes the plan, the log and Locust's own page.

    ``watch(pid)`` is called some ten times a second while the child runs, ``advance(n)`` for n new samples, and
    ``alive`` may raise SignoffError when going on is of no use.
    """

    plan: LoadPlan
    folder: Path
    watch: Callable[[int], None] = lambda _pid: None
    advance: Callable[[int], None] = lambda _count: None
    alive: Callable[[], None] = lambda: None
    pid: int | None = field(default=None, init=False)

    def run(self) -> Generated:
        """Work through the plan; what was sampled is kept however it ends. KeyboardInterrupt counts as broken."""
        require_locust()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plan.write(self.folder / "plan.json")
        self.plan.samples.touch()
        hold, held = os.pipe()
        try:
            broken = self._watched(hold)
        finally:
            os.close(hold)
            os.close(held)
        samples = self._samples()
        return Generated(samples, broken or self._missing(samples))

    def _watched(self, hold: int) -> str:
        with (self.folder / "locust.log").open("wb") as log:
            child = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=self._environment(hold),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(hold,),
                # Ctrl-C is for this process, which decides what becomes of the child.
                start_new_session=True,
            )
        self.pid = child.pid
        try:
            return self._wait(child)
        except KeyboardInterrupt:
            return "interrupted"
        except SignoffError as error:
            return str(error)
        finally:
            _end(child)

    def _wait(self, child: subprocess.Popen[bytes]) -> str:
        deadline, seen = time.monotonic() + self.plan.most_seconds + 60, 0
        while child.poll() is None:
            time.sleep(_POLL_S)
            self.watch(child.pid)
            self.alive()
            count = self.plan.samples.read_bytes().count(b"\n")
            if count > seen:
                self.advance(count - seen)
                seen = count
            if time.monotonic() > deadline:
                return f"the generator did not end within {self.plan.most_seconds + 60:.0f} s"
        if child.returncode:
            how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
            return f"the load generator ended with {how}{self._last_lines()}"
        return ""

    def _command(self) -> list[str]:
        options = ["--headless", "--users", "1", "--spawn-rate", "1", "--only-summary", "--loglevel", "WARNING"]
        more = ["--html", "locust.html", "--host", self.plan.url, "--exit-code-on-error", "0", "--stop-timeout", "0"]
        locustfile = str(Path(__file__).with_name("locustfile.py"))
        return [sys.executable, "-m", "locust", "-f", locustfile, *options, *more]

    def _environment(self, hold: int) -> dict[str, str]:
        # Whatever a user has configured for their own load tests must not change this one: Locust reads variables,
        # ~/.locust.conf, and two files of the current folder.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
        ours = {
            "SIGNOFF_LOAD_PLAN": str(self.folder / "plan.json"),
            "SIGNOFF_LOAD_ALIVE": str(hold),
            "PYTHONPATH": os.pathsep.join(str(entry) for entry in sys.path),
            "HOME": str(self.folder),
        }
        return {**kept, **ours}

    def _samples(self) -> dict[int, Sample]:
        return {sample.number: sample for sample in map(Sample.of, read_lines(self.plan.samples, resume=True))}

    def _missing(self, samples: Mapping[int, Sample]) -> str:
        if len(samples) == self.plan.schedule.requests or any(sample.foreign for sample in samples.values()):
            return ""
        last = [samples[number] for number in sorted(samples)][-GONE_AFTER:]
        if len(last) == GONE_AFTER and all(sample.failure in ("transport", "timeout") for sample in last):
            return f"{GONE_AFTER} requests in a row got no answer: {last[-1].reason}"
        return f"the generator sent {len(samples)} of {self.plan.schedule.requests} requests{self._last_lines()}"

    def _last_lines(self) -> str:
        lines = (self.folder / "locust.log").read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
        return "; its last lines: " + " / ".join(lines) if lines else ""


def _end(child: subprocess.Popen[Any]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
