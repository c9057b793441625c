"""What two versions of a prompt say differently, front matter and body apart."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from harness.run.prompt_versions import Version
from harness.spec.prompts import split_front


@dataclass(frozen=True, slots=True)
class TextDiff:
    """A unified diff of one part: its lines with headers, empty for equal texts, and how many came and went."""

    part: str
    lines: tuple[str, ...]

    @property
    def added(self) -> int:
        """Lines that only the second version has."""
        return sum(line.startswith("+") for line in self.lines[2:])

    @property
    def removed(self) -> int:
        """Lines that only the first version has."""
        return sum(line.startswith("-") for line in self.lines[2:])

    def as_dict(self) -> dict[str, Any]:
        """The part as plain data."""
        return {"added": self.added, "removed": self.removed, "diff": list(self.lines)}


def text_diffs(first: Version, second: Version) -> tuple[TextDiff, TextDiff]:
    """The diffs of the front matters and of the bodies."""
    (front, body), (other_front, other_body) = _parts(first), _parts(second)
    return (
        _diff("front matter", (first, front), (second, other_front)),
        _diff("body", (first, body), (second, other_body)),
    )


def _parts(version: Version) -> tuple[str, str]:
    text = version.file.read_text(encoding="utf-8").replace("\r\n", "\n")
    split = split_front(text)
    assert split is not None, "a version that was loaded has front matter"
    return split[0], split[1]


def _diff(part: str, first: tuple[Version, str], second: tuple[Version, str]) -> TextDiff:
    old, new = (f"{version.number} {part}" for version, _ in (first, second))
    lines = difflib.unified_diff(first[1].split("\n"), second[1].split("\n"), old, new, lineterm="")
    return TextDiff(part, tuple(lines))
