"""Warnings about a fault that lasts, once in a while: a full disk must not fill the log as well."""

from __future__ import annotations

import logging
import threading
import time


class SparingLog:
    """Passes on one warning in ``seconds``; the next one says how many were left out."""

    def __init__(self, log: logging.Logger, seconds: float = 60.0) -> None:
        self._log, self._seconds = log, seconds
        self._lock = threading.Lock()
        self._due = 0.0
        self._left_out = 0

    def warn(self, message: str, *values: object) -> None:
        """Log ``message % values``, unless there was a warning a short while ago."""
        with self._lock:
            now = time.monotonic()
            if now < self._due:
                self._left_out += 1
                return
            left_out, self._left_out, self._due = self._left_out, 0, now + self._seconds
        more = f" ({left_out} more warnings since the last one shown)" if left_out else ""
        self._log.warning(message + more, *values)
