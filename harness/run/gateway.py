"""The local gateway of a run: a child process, started by the first model call that no cache answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.serve import LocalServer
from harness.spec.models import Model


class Gateway:
    """Gives the base URL of a model: its own endpoint, or the child process, started on demand.

    ``models`` are served beside those that the apps use.
    """

    def __init__(
        self,
        root: Path,
        baseline: Path | None,
        apps: Sequence[str],
        cache: Path,
        log: Path,
        models: Sequence[str] = (),
    ) -> None:
        self._args = {
            "root": str(root),
            "cache": str(cache),
            "apps": list(apps),
            "baseline": str(baseline) if baseline else None,
            "models": list(models),
        }
        self._log = log
        self._server: LocalServer | None = None
        self._starting = threading.Lock()

    @property
    def url(self) -> str | None:
        """The child's address, None while nothing had to be asked."""
        return self._server.url if self._server else None

    async def base_url(self, model: Model) -> str:
        """``http://host:port/v1``; SignoffError when the child died."""
        return f"{await self.started()}/v1" if model.pinned else model.endpoint

    async def started(self) -> str:
        """The child's root URL; started by the first who asks."""
        return (await asyncio.to_thread(self._started) if self._server is None else self._server).url

    def _started(self) -> LocalServer:
        # A thread goes on when whoever waits for it gives up: what it started must be known to the next who asks.
        with self._starting:
            if self._server is None:
                self._server = self._start()
            return self._server

    def _start(self) -> LocalServer:
        server = LocalServer("harness.serve.service:build_gateway", args=self._args, log=self._log)
        server.__enter__()
        return server

    def alive(self) -> None:
        """Raise SignoffError with the child's last words when it died."""
        if self._server is not None:
            self._server.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._starting:
            if self._server is not None:
                self._server.__exit__(kind, error, trace)
