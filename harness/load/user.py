"""Locust users that stream: one that works through a fixed schedule, and one to look around with in Locust's page.

Importing this module imports locust, which replaces parts of Python's library by gevent's: only Locust's own process
may do so.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ClassVar

import gevent
import orjson
import urllib3
from gevent.pool import Pool
from locust import User, between, task

from harness.load.ask import Arm, Asker, OutOfTimeError, body_of, headers_of
from harness.load.plan import GONE_AFTER, LoadPlan
from harness.load.sample import Sample
from harness.load.schedule import Block, Shot
from harness.spec.suites import Case

PLAN = "SIGNOFF_LOAD_PLAN"
KEY = "SIGNOFF_LOAD_KEY_ENV"
_LEAD_S = 0.02
_CONNECTIONS = 1000


def connections() -> urllib3.PoolManager:
    """Connections that are kept and never waited for; no retry and no timeout of their own."""
    return urllib3.PoolManager(num_pools=4, maxsize=_CONNECTIONS, block=False, retries=False, timeout=None)


class StreamingUser(User):
    """Sends chat requests and tells Locust's statistics of each: the whole answer, and the first token as ``TTFT``."""

    abstract = True

    def asker(self, url: str, timeout_s: float, key_env: str) -> Asker:
        """Who sends the requests of this user."""
        return Asker(connections(), url, headers_of(os.environ.get(key_env) if key_env else None), timeout_s)

    def ask(self, asker: Asker, number: int, body: bytes, arm: Arm, intended: float) -> Sample:
        """Send one request, wait for the end of its answer, tell Locust."""
        # One clock for the whole request: a server that sends a byte now and then would outlive any socket timeout.
        with gevent.Timeout(max(0.001, intended + asker.timeout_s - time.monotonic()), OutOfTimeError()):
            sample = asker.ask(number, body, arm, intended)
        self._tell("TTFT", arm.model, sample.first, sample)
        self._tell("POST", arm.model, sample.ended, sample)
        return sample

    def _tell(self, kind: str, name: str, at: float | None, sample: Sample) -> None:
        why = sample.reason or sample.foreign
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=1000 * ((at or time.monotonic()) - sample.intended),
            response_length=sample.received,
            exception=RuntimeError(why) if why else None,
            context={},
        )


class PlannedUser(StreamingUser):
    """One user that works through a plan: it sends each request at its time, however many are still under way.

    Users of Locust wait for their answers, so their number bounds the load, and a slow server would be asked less
    often just when it matters (Tene, "How NOT to Measure Latency": coordinated omission). Here every request is a
    greenlet of its own. The samples are written line by line; the run ends early when the server is gone or is not
    the one under review.
    """

    abstract = True
    fixed_count = 1

    def on_start(self) -> None:
        """Read the plan that the environment names."""
        self.plan = LoadPlan.read(Path(os.environ[PLAN]))
        self._asker = self.asker(self.plan.url, self.plan.timeout_s, self.plan.key_env)
        self._unanswered = 0
        self._over = False

    @task
    def work(self) -> None:
        """Send all blocks, one after the other, then end Locust."""
        try:
            with self.plan.samples.open("ab", buffering=0) as out:
                for block in self.plan.schedule.blocks:
                    if not self._over:
                        self._send(block, lambda sample: self._note(sample, out.write))
        finally:
            assert self.environment.runner is not None
            self.environment.runner.quit()

    def _send(self, block: Block, note: Callable[[Sample], None]) -> None:
        arm = self.plan.arms[block.variant]
        # Encoded before the clock runs: a long article takes longer than a gap at a high rate.
        bodies = [self._body(shot, arm) for shot in block.shots]
        began, pool = time.monotonic() + _LEAD_S, Pool()
        for shot, body in zip(block.shots, bodies, strict=True):
            intended = began + shot.offset_s
            # A timer may fire a little early, and a latency must not be below nothing.
            while (left := intended - time.monotonic()) > 0:
                gevent.sleep(left)
            if self._over:
                break
            pool.spawn(self._one, shot.number, body, arm, intended).link_value(lambda done: note(done.value))
        pool.join()
        # Links run in the hub; without a turn of it the last sample would be missing.
        gevent.sleep(0)

    def _body(self, shot: Shot, arm: Arm) -> bytes:
        return body_of(self.plan.schedule.cases[shot.question], arm.model, self.plan.seed)

    def _one(self, number: int, body: bytes, arm: Arm, intended: float) -> Sample:
        return self.ask(self._asker, number, body, arm, intended)

    def _note(self, sample: Sample, write: Callable[[bytes], object]) -> None:
        write(orjson.dumps(sample.as_dict(), option=orjson.OPT_APPEND_NEWLINE))
        unanswered = sample.failure in ("transport", "timeout")
        self._unanswered = self._unanswered + 1 if unanswered else 0
        self._over = self._over or bool(sample.foreign) or self._unanswered >= GONE_AFTER


class AppUser(StreamingUser):
    """Asks an app's own cases one after the other, for Locust's web page: set ``app`` in a subclass, in three lines.

    The subclass stands in ``suites/<app>/locustfile.py``. Its users wait for their answers (a closed loop), so what
    is seen here is never a verdict: ``signoff load`` measures.
    """

    abstract = True
    host = "http://127.0.0.1:8000"
    app: ClassVar[str] = ""
    wait_time = between(0.5, 2.0)
    timeout_s: ClassVar[float] = 60.0

    def on_start(self) -> None:
        """Read the app's cases from the repository in which the locustfile lies."""
        self._cases = _cases(Path(inspect.getfile(type(self))).resolve().parents[2], self.app)
        url = f"{(self.host or '').rstrip('/').removesuffix('/v1')}/v1"
        self._asker = self.asker(url, self.timeout_s, os.environ.get(KEY, ""))
        self._number = id(self) % len(self._cases)

    @task
    def one_case(self) -> None:
        """Ask the next case."""
        case = self._cases[self._number % len(self._cases)]
        arm = Arm(self.app)
        self._number += 1
        self.ask(self._asker, self._number, body_of(case, self.app, 0), arm, time.monotonic())


@cache
def _cases(root: Path, app: str) -> list[Case]:
    from harness.load.cases import cases_of
    from harness.spec.repository import load_repository
    from harness.store import cache_home

    return cases_of(load_repository(root, only=[app]).suites[app], root, cache_home())
