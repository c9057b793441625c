"""The one thing to do after a look at a running app: what was broken first, then what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.gate import GateVerdict
from harness.monitor import Moved, Notes, Reference
from harness.spec.monitor import Monitor

FROM_RUN = "--from RUN"


@dataclass(slots=True)
class WatchedApp:
    """One app in one window: verdicts on its promises and on drift, and what was noticed on the way."""

    name: str
    monitor: Monitor
    notes: Notes
    gates: list[GateVerdict]
    moved: list[Moved] = field(default_factory=list)
    reference: Reference | None = None
    warnings: list[str] = field(default_factory=list)

    def moved_in(self, gate: GateVerdict) -> Moved | None:
        """The feature that a gate is about, None for a promise."""
        return next((each for each in self.moved if f"drift-{each.feature.id}" == gate.id), None)


def next_action(apps: Sequence[WatchedApp], traces: Path) -> str:
    """One concrete thing to do."""
    for kind in ("fail", "inconclusive"):
        for app in apps:
            chosen = [gate for gate in app.gates if gate.required and gate.verdict == kind]
            if chosen:
                gate = min(chosen, key=lambda each: 1.0 if each.p_adjusted is None else each.p_adjusted)
                return _broken(app, gate) if kind == "fail" else _missing(app, gate, traces)
    return "nothing: every promise is kept and traffic looks like the reference"


def _broken(app: WatchedApp, gate: GateVerdict) -> str:
    moved = app.moved_in(gate)
    if moved is None:
        asked = f"{gate.rule.replace('_', ' ')} {100 * gate.threshold:g} %"
        return f"repair {app.name}: {gate.id} is at {100 * (gate.estimate or 0.0):.1f} %, promised is {asked}"
    told = f"{moved.feature.id} moved ({moved.told()})" if moved.bins else f"{moved.feature.id} moved"
    return f"add cases like today's traffic to suites/{app.name}/cases and run signoff gate: {told}"


def _missing(app: WatchedApp, gate: GateVerdict, traces: Path) -> str:
    moved = app.moved_in(gate)
    if not app.notes.requests:
        return f"look whether {app.name} is served with its log in {traces}: the window holds no request of it"
    if moved is not None and FROM_RUN in moved.reason:
        return f"signoff monitor reference --app {app.name} {FROM_RUN}, where RUN is the accepted run that is deployed"
    if moved is not None:
        return f"watch {app.name} over a longer --window: {gate.id} is undecided ({gate.reason})"
    more = f"{gate.need_cases} more requests" if gate.need_cases else "more requests"
    return f"wait for {more} of {app.name}, or name a longer --window: {gate.id} is undecided"
