"""The server's own log, without personal data: errors quote what callers sent, and so do the tracebacks below them."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

_NAMES = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_LEFT_OUT = "…"


class CleanFormatter(logging.Formatter):
    """Passes every record through ``scrub``. Without it, texts that are no part of the program are left out."""

    def __init__(self, scrub: Callable[[str], str] | None) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """The record as one text."""
        if self._scrub is None:
            return self._without_texts(record)
        try:
            return self._scrub(super().format(record))
        except Exception as problem:  # a log that fails would hide what it should tell
            return f"{self._without_texts(record)} (the text was left out: {type(problem).__name__})"

    def _without_texts(self, record: logging.LogRecord) -> str:
        args = record.args if isinstance(record.args, tuple) else ()
        plain = [arg if isinstance(arg, int | float | Path) else _LEFT_OUT for arg in args]
        try:
            message = str(record.msg) % tuple(plain) if plain else str(record.msg)
        except (TypeError, ValueError):
            message = str(record.msg)
        problem = record.exc_info[1] if record.exc_info else None
        said = f"{self.formatTime(record)} {record.levelname} {record.name}: {message}"
        return said if problem is None else f"{said}\n{_places(problem)}"


def log_to_stderr(scrub: Callable[[str], str] | None) -> None:
    """Send all logs of this process to standard error, cleaned. Call it after the server has been configured."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter(scrub))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    # uvicorn brings handlers of its own, which would write its records as they are.
    for name in _NAMES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _places(problem: BaseException) -> str:
    """Where an error and those behind it were raised, without what they say."""
    lines, seen = [], set[int]()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        lines.append("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
