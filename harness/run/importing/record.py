"""What an import took over, and what it did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Fate = Literal["not imported", "imported otherwise"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One thing of the config that did not come over as it is: where it stands, what it is, and why."""

    file: str
    test: str
    what: str
    why: str
    fate: Fate = "not imported"

    def line(self) -> str:
        """The entry for a terminal."""
        where = f"{self.file}, {self.test}" if self.test else self.file
        return f"{self.fate}: {where}: {self.what}: {self.why}"


@dataclass
class Ledger:
    """The entries of one import; each thing that two apps share is listed once."""

    file: str
    entries: list[Listed] = field(default_factory=list)

    def lost(self, what: str, why: str, test: str = "", file: str = "") -> None:
        """Note what was not imported."""
        self._add(Listed(file or self.file, test, what, why))

    def changed(self, what: str, why: str, test: str = "") -> None:
        """Note what was imported otherwise than it stands."""
        self._add(Listed(self.file, test, what, why, "imported otherwise"))

    def _add(self, entry: Listed) -> None:
        if entry not in self.entries:
            self.entries.append(entry)


@dataclass(frozen=True)
class Imported:
    """The result: what was written, and how many assertions came over, came over otherwise or did not."""

    out: Path
    apps: Mapping[str, int]
    assertions: Mapping[str, int]
    listed: tuple[Listed, ...]
    files: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The result as plain data."""
        return {
            "out": str(self.out),
            "apps": dict(self.apps),
            "assertions": dict(self.assertions),
            "listed": [asdict(entry) for entry in self.listed],
            "files": list(self.files),
        }
