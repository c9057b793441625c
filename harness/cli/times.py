"""Times and stretches of time on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from harness.errors import UsageError


def window_of(text: str | None) -> str | None:
    """A stretch as 30m, 6h, 1d, 2w; UsageError for anything else."""
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,5}[mhdw]", text):
        raise UsageError(f"--window is {text!r}; write it as 30m, 6h, 1d or 2w")
    return text


def moment_of(text: str | None, option: str) -> datetime | None:
    """A date and time with its zone, None for none; UsageError for anything else."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(f"{option} is {text!r}; give a date and time with its zone, as 2027-01-31T09:00:00Z")
    return found.astimezone(UTC)
