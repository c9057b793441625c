"""The gateway of a run is one process, whoever gives up waiting for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.run import gateway as gateway_module
from harness.run.gateway import Gateway


class SlowServer:
    """A server that takes its time to start and counts how often it did, and whether it was ended."""

    started = 0
    ended = 0
    may_start = threading.Event()

    def __init__(self, *_: Any, **__: Any) -> None:
        self.url = "http://127.0.0.1:1"

    def __enter__(self) -> SlowServer:
        SlowServer.started += 1
        self.may_start.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        SlowServer.ended += 1


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "LocalServer", SlowServer)
    SlowServer.started = SlowServer.ended = 0
    SlowServer.may_start = threading.Event()


def test_a_deadline_that_ends_the_waiting_starts_no_second_process(tmp_path: Path) -> None:
    """Who asks after another gave up gets the process that was being started, and it is ended with the run."""

    async def asked(gateway: Gateway) -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gateway.started(), 0.05)
        SlowServer.may_start.set()
        return await gateway.started()

    with Gateway(tmp_path, None, ["desk"], tmp_path, tmp_path / "log") as gateway:
        assert asyncio.run(asked(gateway)) == "http://127.0.0.1:1"
    assert (SlowServer.started, SlowServer.ended) == (1, 1)


def test_the_end_of_a_run_waits_for_a_process_that_is_starting(tmp_path: Path) -> None:
    """Nothing is left running when a run ends while its gateway starts."""

    async def given_up(gateway: Gateway) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gateway.started(), 0.05)
        SlowServer.may_start.set()

    with Gateway(tmp_path, None, ["desk"], tmp_path, tmp_path / "log") as gateway:
        asyncio.run(given_up(gateway))
    assert (SlowServer.started, SlowServer.ended) == (1, 1)
