"""Everything without a value, grouped by its reason."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.spec.measurement import Measurement

EXAMPLES = 4


class Reason(NamedTuple):
    """What is common to a group; ``where`` is the check with its step, or ``output``."""

    status: str
    app: str
    variant: str
    where: str
    reason: str


@dataclass(slots=True)
class Group:
    """How often a reason was given, and the first cases by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, case: str) -> None:
        """Count one more row."""
        self.count += 1
        if case not in self.examples:
            insort(self.examples, case)
            del self.examples[EXAMPLES:]


class Losses:
    """Takes rows and outputs; keeps those without a value, as groups."""

    def __init__(self) -> None:
        self.groups: dict[Reason, Group] = {}

    def row(self, row: Measurement) -> None:
        """Take a measurement row."""
        if row.status != "scored":
            where = f"{row.step} · {row.check}" if row.step else row.check
            self._add(Reason(row.status, row.app, row.variant, where, row.reason or "no reason given"), row.case)

    def output(self, app: str, variant: str, case: str, output: Mapping[str, Any]) -> None:
        """Take a row of ``outputs.jsonl``."""
        status = str(output.get("status") or "ok")
        if status != "ok":
            self._add(Reason(status, app, variant, "output", str(output.get("reason") or "")), case)

    def _add(self, reason: Reason, case: str) -> None:
        self.groups.setdefault(reason, Group()).add(case)
