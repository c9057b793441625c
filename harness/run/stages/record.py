"""What a stage is given, and what it says of itself when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import SignoffError
from harness.evals import Tally
from harness.gate import StageResult
from harness.run.options import Options
from harness.run.plan import Plan
from harness.spec.repository import SuiteFiles
from harness.store import RunFolder

Again = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class Context:
    """One run as a stage sees it. ``apps`` are those that the stage measures.

    ``again(app, look)`` decides after each look whether more repeats are worth their cost.
    """

    options: Options
    plan: Plan
    folder: RunFolder
    apps: tuple[str, ...]
    again: Again = lambda _app, _look: False

    def suite_folder(self, app: str) -> Path:
        """Where the code and the files of an app's suite lie."""
        return (self.plan.suite_root or self.options.root) / "suites" / app

    def suites(self) -> Sequence[tuple[str, SuiteFiles]]:
        """The apps with their suites."""
        return [(name, self.plan.repository.suites[name]) for name in self.apps]


@dataclass
class StageReport:
    """What a stage did. ``found`` are sentences for people; ``skipped`` and ``broken`` are reasons, else empty."""

    name: str
    broken: str = ""
    skipped: str = ""
    seconds: float = 0.0
    rows: int = 0
    model_calls: int = 0
    cached_calls: int = 0
    outputs: int = 0
    errors: int = 0
    looks: int = 1
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: dict[str, list[str]] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    @property
    def status(self) -> Literal["ok", "broken", "skipped"]:
        """How the stage ended."""
        return "broken" if self.broken else "skipped" if self.skipped else "ok"

    def count(self, app: str, tally: Tally, seconds: float, calls: int) -> None:
        """Add what was asked of one app in ``seconds``, with ``calls`` of models and services."""
        self.rows += tally.rows
        self.outputs += tally.outputs
        self.errors += tally.errors
        self.broken = self.broken or (f"{app}: {tally.broken}" if tally.broken else "")
        asked = {"outputs": tally.outputs, "errors": tally.errors, "calls": calls}
        self.apps[app] = {"seconds": round(seconds, 3), **asked}

    def as_dict(self) -> dict[str, Any]:
        """One entry of ``stages``."""
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.broken or self.skipped,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "calls": self.model_calls,
            "cached": self.cached_calls,
            "outputs": self.outputs,
            "errors": self.errors,
            "looks": self.looks,
            "apps": self.apps,
            "served": self.served,
            "found": self.found,
        }

    @classmethod
    def of(cls, entry: dict[str, Any]) -> StageReport:
        """The report of an entry of ``stages``; SignoffError for one of another shape."""
        try:
            report = cls(entry["name"])
            report.broken = entry["reason"] if entry["status"] == "broken" else ""
            report.skipped = entry["reason"] if entry["status"] == "skipped" else ""
            report.model_calls, report.cached_calls = entry["calls"], entry["cached"]
            for name in ("seconds", "rows", "outputs", "errors", "looks", "apps", "served", "found"):
                setattr(report, name, entry[name])
        except (KeyError, TypeError) as error:
            message = f"run.json has a stage of another shape ({error}); measure it again"
            raise SignoffError(message) from error
        return report

    def result(self) -> StageResult:
        """The stage as the gate room sees it."""
        reason = self.broken or self.skipped
        return StageResult(self.name, self.status, reason, self.seconds, self.rows, self.model_calls)
