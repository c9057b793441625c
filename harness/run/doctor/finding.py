"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how it stands, what was found, what to do (empty: nothing). A problem makes gates impossible."""

    area: Literal["machine", "repository", "github"]
    name: str
    level: Level
    found: str
    do: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self)

    def line(self) -> str:
        """The finding for a terminal."""
        return f"{self.level:<8} {self.name}: {self.found}" + (f"; {self.do}" if self.do else "")
