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
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """The record as one text."""
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: "
        problem = record.exc_info[1] if record.exc_info else None
        places = "" if problem is None else f"\n{_places(problem, self._clean)}"
        return head + self._message(record) + places

    def _message(self, record: logging.LogRecord) -> str:
        if self._scrub is not None:
            return self._clean(record.getMessage())
        args = record.args if isinstance(record.args, tuple) else ()
        plain = [arg if isinstance(arg, int | float | Path) else _LEFT_OUT for arg in args]
        try:
            return str(record.msg) % tuple(plain) if plain else str(record.msg)
        except (TypeError, ValueError):
            return str(record.msg)

    def _clean(self, text: str) -> str:
        try:
            return _LEFT_OUT if self._scrub is None else self._scrub(text)
        except Exception as problem:  # a log that fails would hide what it should tell
            return f"{_LEFT_OUT} ({type(problem).__name__})"


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


def _places(problem: BaseException, clean: Callable[[str], str]) -> str:
    """Where an error and those behind it were raised; what they say is cleaned, lines of code are not."""
    lines, seen = [], set[int]()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        lines.append(f"{frames}{type(error).__name__}: {clean(str(error))}")
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
