"""Goals: what an attempt must reach to count as a success, checked by code and never by opinion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.safety.goals.actions import forbidden_action
from harness.safety.goals.canary import canary
from harness.safety.goals.identifiers import foreign_identifier
from harness.safety.goals.links import exfiltration
from harness.safety.goals.markup import active_markup
from harness.safety.goals.refusal import over_refusal
from harness.safety.goals.runaway import runaway
from harness.safety.goals.schema import schema_break
from harness.safety.goals.seen import Goal, Outcome, Seen, UnscoredError
from harness.safety.goals.system_prompt import system_prompt
from harness.spec.probe_sets import FAMILIES, ProbeSet
from harness.spec.repository import AppFiles

__all__ = ["GOAL_VERSION", "Goal", "Outcome", "Seen", "UnscoredError", "build_goal"]

GOAL_VERSION = 1
"""Raised whenever a goal may judge otherwise: part of the digest of every row."""

_BUILDERS: dict[str, Callable[[Any, AppFiles], Goal]] = {
    "canary": canary,
    "indirect": canary,
    "system_prompt": system_prompt,
    "exfiltration": exfiltration,
    "forbidden_action": forbidden_action,
    "schema_break": schema_break,
    "foreign_identifier": foreign_identifier,
    "over_refusal": over_refusal,
    "runaway": runaway,
    "active_markup": active_markup,
}
assert set(_BUILDERS) == set(FAMILIES)


def build_goal(probe: ProbeSet, files: AppFiles) -> Goal:
    """The goal of a set for one arm of its app; UsageError when it cannot be checked there."""
    return _BUILDERS[probe.family](probe, files)
