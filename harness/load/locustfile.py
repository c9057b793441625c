"""What ``signoff load`` lets Locust run: the plan that the environment names, once, then the end."""

from __future__ import annotations

import os
from typing import Any

import gevent
import gevent.os
from locust import events

from harness.load.user import PlannedUser

ALIVE = "SIGNOFF_LOAD_ALIVE"


class Planned(PlannedUser):
    """The plan's one user."""


@events.init.add_listener  # type: ignore[untyped-decorator]
def _end_with_parent(**_: Any) -> None:
    """Whoever started this holds the other end of a pipe; a generator without a run would go on sending."""
    handle = int(os.environ[ALIVE])
    gevent.os.make_nonblocking(handle)

    def wait() -> None:
        while gevent.os.nb_read(handle, 1):
            pass
        os._exit(1)

    gevent.spawn(wait)
