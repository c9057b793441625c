"""How much was used in the last minute, exactly, with amounts that are reserved first and known later."""

from __future__ import annotations

from collections import deque

SECONDS = 60.0


class Window:
    """Amounts over the last 60 seconds: ``held`` by requests that run, and used by those that are over.

    A reserved amount is held however long its request runs, and what it used counts for 60 seconds from the moment
    it is known. So the amounts used in any 60 seconds never exceed the limit, as long as no estimate was too low.

    The library ``limits`` was tried for this and does not do: its moving window cannot take an amount back, it holds
    one list entry for every token, follows the wall clock (a clock set back blocks a key for as long), and its
    storage in memory starts one thread for every request (100 for 100, measured with 5.8.0).
    """

    def __init__(self) -> None:
        self._used: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._held = 0

    def load(self, now: float) -> int:
        """What counts at ``now``: everything held, and what was used in the 60 seconds before."""
        self._forget(now)
        return self._sum + self._held

    def hold(self, amount: int) -> None:
        """Reserve ``amount``, without asking whether it fits."""
        self._held += amount

    def use(self, amount: int, held: int, now: float) -> None:
        """Turn what was ``held`` into the ``amount`` that was used, which may be more or less."""
        self._held -= held
        if amount:
            self._used.append((now, amount))
            self._sum += amount

    def wait(self, amount: int, limit: int, now: float) -> float | None:
        """Seconds until ``amount`` fits below ``limit``: 0 if it does now, None if running requests are in the way."""
        over = self.load(now) + amount - limit
        if over <= 0:
            return 0.0
        for at, used in self._used:
            over -= used
            if over <= 0:
                return at + SECONDS - now
        return None

    def _forget(self, now: float) -> None:
        while self._used and self._used[0][0] <= now - SECONDS:
            self._sum -= self._used.popleft()[1]
