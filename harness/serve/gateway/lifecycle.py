"""What a gateway loads before it is ready, reports while it runs, and closes when it ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_log = logging.getLogger("signoff.gateway")


@dataclass(slots=True)
class Lifecycle:
    """``loaders`` run one after the other while the server is already listening; ``closers`` run in order at its end.

    ``broken`` is called when a loader fails: a server that will never be ready should say so and end.
    """

    loaders: Sequence[Callable[[], Awaitable[object]]] = ()
    closers: Sequence[Callable[[], Awaitable[object]]] = ()
    status: Callable[[], dict[str, Any]] = dict
    broken: Callable[[Exception], None] | None = None
    _left: int = field(default=0, init=False)
    _failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Nothing is loaded yet."""
        self._left = len(self.loaders)

    @property
    def why_not_ready(self) -> str | None:
        """Why the server should not be sent requests; None when it should."""
        if self._failed:
            return "a model could not be loaded"
        return f"{self._left} of {len(self.loaders)} models are still being loaded" if self._left else None

    async def load(self) -> None:
        """Load everything."""
        for loader in self.loaders:
            try:
                await loader()
            except Exception as problem:  # told to whoever started the server, which is not this task
                self._failed = True
                _log.error("a model could not be loaded: %s", problem)
                if self.broken is not None:
                    self.broken(problem)
                return
            self._left -= 1

    async def close(self) -> None:
        """Close everything, whatever happens on the way."""
        for closer in self.closers:
            try:
                await closer()
            except Exception as problem:  # the next ones hold files and threads of their own
                _log.error("the gateway could not be closed cleanly: %s: %s", type(problem).__name__, problem)
