"""The records of a decision: one per gate, one per stage, one per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from harness.errors import EXIT_ERROR, EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS

GateOutcome = Literal["pass", "fail", "inconclusive", "not_applicable"]
RunOutcome = Literal["pass", "fail", "error", "inconclusive"]
EXIT_CODES: Mapping[str, int] = {
    "pass": EXIT_PASS,
    "fail": EXIT_FAIL,
    "inconclusive": EXIT_INCONCLUSIVE,
    "error": EXIT_ERROR,
}


@dataclass(frozen=True, slots=True)
class AppArms:
    """The digests of one app's candidate and baseline; a new app has no baseline."""

    candidate: str
    baseline: str | None = None

    @property
    def changed(self) -> bool:
        """Whether there is a baseline that differs from the candidate."""
        return self.baseline is not None and self.baseline != self.candidate


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one stage of the run ended; ``reason`` says why it broke or was skipped."""

    name: str
    status: Literal["ok", "broken", "skipped"] = "ok"
    reason: str = ""
    seconds: float = 0.0
    rows: int = 0
    calls: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate's numbers and verdict.

    ``estimate`` with ``low`` and ``high`` is the difference candidate - baseline for a paired rule, else the
    candidate's value; ``low`` and ``high`` are each one-sided at ``confidence`` and None when unbounded.
    ``detectable`` is the distance from the bound that this sample proves with 80 % power. ``p_value`` is against
    "the requirement holds" (small: it is broken), ``p_adjusted`` the same after Holm over the required gates.
    Not in the file: ``need_cases`` and ``need_repeats`` say what would settle an undecided gate; ``sampled`` says
    that repeats of one case differ, so that more of them add information; ``told`` holds (case, reason) of rows that
    speak against a total. ``stage`` measures the metric.
    """

    app: str
    id: str
    metric: str
    step: str
    slice: str
    rule: str
    statistic: str
    required: bool
    better: str
    threshold: float
    n: int = 0
    clusters: int = 0
    repeats: int = 0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    baseline: float | None = None
    candidate: float | None = None
    detectable: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    changed: int | None = None
    errors: int = 0
    unscored: int = 0
    method: str = "none"
    verdict: GateOutcome = "inconclusive"
    reason: str = ""
    why: str = ""
    need_cases: int | None = None
    need_repeats: int | None = None
    sampled: bool = False
    stage: str = ""
    told: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The app and the gate, as messages name them."""
        return f"{self.app}/{self.id}"

    def as_dict(self) -> dict[str, Any]:
        """The record as it stands in verdict.json."""
        hidden = ("need_cases", "need_repeats", "sampled", "told")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in hidden}


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The one decision of a run. Whoever ran it fills in the run's id, calls and seconds (``dataclasses.replace``)."""

    verdict: RunOutcome
    next_action: str
    profile: str
    apps: Mapping[str, AppArms]
    reasons: tuple[str, ...]
    gates: tuple[GateVerdict, ...]
    stages: tuple[StageResult, ...] = ()
    run_id: str = ""
    model_calls: int = 0
    cached_calls: int = 0
    wall_s: float = 0.0
    look: int = 1
    looks_planned: int = 1

    @property
    def exit_code(self) -> int:
        """The exit code of the command that prints this verdict."""
        return EXIT_CODES[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """The content of verdict.json, schema 1."""
        return {
            "schema": 1,
            "verdict": self.verdict,
            "next_action": self.next_action,
            "exit_code": self.exit_code,
            "model_calls": self.model_calls,
            "cached_calls": self.cached_calls,
            "wall_s": self.wall_s,
            "profile": self.profile,
            "run_id": self.run_id,
            "apps": {n: {"candidate": a.candidate, "baseline": a.baseline} for n, a in sorted(self.apps.items())},
            "reasons": list(self.reasons),
            "approval": None,
            "gates": [gate.as_dict() for gate in self.gates],
            "stages": [stage.as_dict() for stage in self.stages],
        }
