"""Waivers: pairs of a case and a row that a named person accepts, for a time."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from harness.errors import Problem
from harness.spec.base import Slug, Spec
from harness.spec.yaml_file import line_in

WAIVERS = "waivers.yaml"
Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Waiver(Spec):
    """One pair: ``case`` of the suite, and ``row`` of ``mart``, as ``signoff data contamination`` names them.

    ``mart`` may also be what it names instead: ``app.yaml`` or a prompt. The waiver counts until ``expires``, that day
    included.
    """

    case: Slug
    mart: Said
    row: Said
    reason: Said
    by: Said
    expires: date

    @field_validator("row", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.expires

    @property
    def pair(self) -> tuple[str, str, str]:
        """Case, mart and row."""
        return self.case, self.mart, self.row


class WaiversFile(Spec):
    """``suites/<app>/waivers.yaml``."""

    waivers: tuple[Waiver, ...] = Field(min_length=1)


def waiver_problems(found: WaiversFile, file: Path, shown: str, cases: Collection[str]) -> list[Problem]:
    """Waivers of cases that the suite does not have, and pairs that stand twice."""
    problems = []
    seen: set[tuple[str, str, str]] = set()
    for place, waiver in enumerate(found.waivers):
        line = line_in(file, ("waivers", place))
        if waiver.case not in cases:
            problems.append(Problem(shown, line, f"no case {waiver.case!r} in this suite; remove the waiver"))
        if waiver.pair in seen:
            wrong = f"case {waiver.case!r} and row {waiver.row!r} of {waiver.mart!r} are waived twice; keep one"
            problems.append(Problem(shown, line, wrong))
        seen.add(waiver.pair)
    return problems
