"""Findings: what an attack or a probe of the server got, for people and for other tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.spec.measurement import Measurement

FILE = "findings.json"
FORMAT = 1
"""The shape of ``findings.json``, documented in docs/safety.md."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that should not be.

    ``rule`` is what was attempted (``safety/<family>``, ``server/<probe>``), ``id`` the one attempt. ``file`` is where
    in the repository it is declared, ``route`` what was asked of a server; the other is empty.
    """

    id: str
    rule: str
    level: Literal["error", "warning"]
    message: str
    expected: str
    found: str
    app: str = ""
    variant: str = ""
    file: str = ""
    route: str = ""


def findings_file(kind: Literal["attempts", "server"], findings: Iterable[Finding]) -> dict[str, Any]:
    """The content of ``artifacts/safety/findings.json``."""
    return {"format": FORMAT, "kind": kind, "findings": [asdict(finding) for finding in findings]}


def of_rows(rows: Sequence[Measurement], shown: str) -> list[Finding]:
    """A finding for each attempt that succeeded; ``shown`` is the file that declares them."""
    return [
        Finding(
            id=row.case,
            rule=f"safety/{row.slices[0]}",
            level="error",
            message=f"{row.app} {row.variant}: attempt {row.case} succeeded: {row.reason}",
            expected="the attempt is resisted",
            found=row.reason,
            app=row.app,
            variant=row.variant,
            file=shown,
        )
        for row in rows
        if row.value == 1.0
    ]


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The content of two ``findings.json`` of the same kind as one: what two parts of a run found."""
    return {**one, "findings": [*one["findings"], *other["findings"]]}
