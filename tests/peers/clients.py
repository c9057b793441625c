"""``signoff serve`` as a user starts it, for other projects' clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serve.served_repo import Served, write_repo


@contextmanager
def gateway(folder: Path, *args: str) -> Iterator[Served]:
    """The gateway over the tiny model, ready."""
    served = Served(write_repo(folder / "repo", folder / "cache"), folder / "cache", *args)
    try:
        served.wait_until_ready()
        yield served
    finally:
        code = served.stop()
    assert code == 0, served.said
