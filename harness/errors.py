"""The two ways a command ends badly: the user can mend it, or the harness or a dependency broke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_PASS, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_ERROR, EXIT_USAGE = 0, 1, 2, 3, 64


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in one file; ``line`` is 1-based, or None when the whole file is meant."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


class SignoffError(Exception):
    """The harness or something it depends on failed; the command exits with 3."""

    exit_code = EXIT_ERROR


class UsageError(SignoffError):
    """The command line or a versioned file is wrong; the command exits with 64.

    ``problems`` holds every problem found, so that all are printed together.
    """

    exit_code = EXIT_USAGE

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> UsageError:
        """One error that carries all ``problems``, sorted by file and line."""
        ordered = sorted(problems, key=lambda p: (p.path, p.line or 0, p.message))
        count = f"{len(ordered)} problem" + ("s" if len(ordered) != 1 else "")
        return cls("\n".join([count, *(f"  {problem}" for problem in ordered)]), ordered)
