"""Probes: attempts to make an app do what it must not, and what its answers are held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field

from harness.spec.base import Slug, Spec

Family = Literal[
    "canary",
    "system_prompt",
    "exfiltration",
    "forbidden_action",
    "schema_break",
    "foreign_identifier",
    "over_refusal",
    "runaway",
]
FAMILIES: tuple[Family, ...] = get_args(Family)


class ProbeSet(Spec):
    """One family of probes: which of its attack texts are sent, at most ``attempts`` of them."""

    id: Slug
    family: Family
    attempts: int = Field(default=30, ge=1)
    description: str = ""


class Probes(Spec):
    """``suites/<app>/probes.yaml``."""

    description: str = ""
    seed: int = Field(default=0, ge=0)
    probes: tuple[ProbeSet, ...] = Field(min_length=1)

    @property
    def metrics(self) -> Mapping[str, int]:
        """Every metric with its number of attempts an arm."""
        return {f"safety.{probe.id}": probe.attempts for probe in self.probes}
