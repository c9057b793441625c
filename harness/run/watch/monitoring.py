"""``signoff monitor run``: traces of a window against what monitor.yaml promises, decided by the gate room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS, UsageError
from harness.gate import AppArms, GateVerdict, decide
from harness.monitor import (
    STAGE,
    Moved,
    TraceWindow,
    compared,
    measured,
    read_reference,
    reference_path,
    require_log,
    sampled,
)
from harness.run.watch.actions import FROM_RUN, WatchedApp, next_action
from harness.run.watch.shifts import decide_shifts
from harness.run.watch.summary import summary
from harness.run.watch.wording import in_words
from harness.spec.measurement import Measurement, encode
from harness.spec.monitor import Monitor, span
from harness.spec.repository import Repository, load_repository
from harness.store import RunFolder

ANSWERS: Mapping[str, str] = {"pass": "ok", "fail": "breached", "inconclusive": "undecided"}
MOST_ROWS = 50_000
"""Rows that a run folder keeps; the decision rests on all of them, also those beyond."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched: the tree, which apps (none: all that have a monitor.yaml), the log, when, how long.

    ``window`` (None: each indicator's own) ends at ``now``.
    """

    root: Path
    traces: Path
    now: datetime
    apps: tuple[str, ...] = ()
    window: str | None = None

    @property
    def reports(self) -> Path:
        """Where run folders of monitoring go: apart from those of gates, whose ``latest`` stays theirs."""
        return self.root / "reports" / "monitor"


def watch(wanted: Watch) -> dict[str, Any]:
    """Measure, decide and write a run folder; the report as plain data, ``exit_code`` among it.

    UsageError for invalid files, an app without monitor.yaml, or a log that is not there.
    """
    repository = load_repository(wanted.root, only=wanted.apps)
    names = watched(repository, wanted.apps)
    require_log(wanted.traces)
    folder = RunFolder.create(wanted.reports)
    with folder.jsonl(f"measurements/{STAGE}.jsonl") as rows:
        kept = _Kept(rows.write)
        apps = [_watch_app(wanted, repository, name, kept) for name in names]
    report = _report(wanted, apps, kept, folder)
    folder.write_json("monitor.json", report)
    (folder.path / "summary.md").write_text(summary(report), encoding="utf-8")
    folder.finish({"kind": STAGE, "signoff": __version__, "now": wanted.now.isoformat(), "apps": names})
    return report


def watched(repository: Repository, apps: Sequence[str]) -> list[str]:
    """The apps that can be watched; UsageError names one that was asked for and says nothing, or that there is none."""
    silent = [name for name in apps if repository.suites[name].monitor is None]
    found = [name for name, suite in repository.suites.items() if suite.monitor is not None]
    if silent or not found:
        name = silent[0] if silent else "<app>"
        message = f"suites/{name}/monitor.yaml is missing: it says what the running app promises (docs/monitoring.md)"
        raise UsageError(message)
    return found


class _Kept:
    """Writes rows to the run folder up to a bound, and counts all of them."""

    def __init__(self, write: Any) -> None:
        self._write, self.count, self.written = write, 0, 0

    def passing(self, rows: Iterator[Measurement]) -> Iterator[Measurement]:
        for row in rows:
            self.add(row)
            yield row

    def add(self, row: Measurement, *, always: bool = False) -> None:
        self.count += 1
        if always or self.written < MOST_ROWS:
            self.written += 1
            self._write(encode(row))


def _watch_app(wanted: Watch, repository: Repository, name: str, kept: _Kept) -> WatchedApp:
    declared = repository.suites[name].monitor
    assert declared is not None
    monitor = _over(declared, wanted.window)
    since = wanted.now - max(span(each.window or monitor.window) for each in monitor.indicators)
    window = TraceWindow(wanted.traces, name, since, wanted.now)
    notes = window.read()
    found = WatchedApp(name, monitor, notes, _indicators(monitor, window, kept), warnings=notes.warnings())
    if monitor.drift is not None:
        _drift(found, window, wanted, repository)
        for moved in found.moved:
            kept.add(_row(name, moved), always=True)
    _versions(found, repository.apps[name].digest)
    return found


def _over(monitor: Monitor, window: str | None) -> Monitor:
    """The promises over the window that the command names, which wins over those of the file."""
    if window is None:
        return monitor
    indicators = tuple(each.model_copy(update={"window": window}) for each in monitor.indicators)
    return monitor.model_copy(update={"window": window, "indicators": indicators})


def _indicators(monitor: Monitor, window: TraceWindow, kept: _Kept) -> list[GateVerdict]:
    gates = [each.gate() for each in monitor.indicators]
    verdict = decide(
        kept.passing(measured(monitor, window)),
        {window.app: gates},
        profile="release",
        apps={window.app: AppArms("")},
    )
    return [_enough(gate, monitor.by_id[gate.id].minimum) for gate in verdict.gates]


def _enough(gate: GateVerdict, minimum: int) -> GateVerdict:
    """A promise that too few requests speak of is neither kept nor broken."""
    if gate.n >= minimum:
        return in_words(gate, "request")
    reason = f"too little traffic: {gate.n} requests, at least {minimum} are asked for"
    return replace(gate, verdict="inconclusive", reason=reason, need_cases=minimum - gate.n)


def _drift(found: WatchedApp, window: TraceWindow, wanted: Watch, repository: Repository) -> None:
    drift = found.monitor.drift
    assert drift is not None
    path = reference_path(drift, repository.apps[found.name].folder)
    reference = found.reference = read_reference(path, found.name)
    set_it = f"set one: signoff monitor reference --app {found.name} {FROM_RUN}"
    why = ""
    if reference is None:
        why = f"no reference {path.name}; {set_it}"
    elif reference.expired(drift, wanted.now):
        why = f"the reference of {reference.made:%Y-%m-%d} has expired after {drift.expires_days:g} days; {set_it}"
    if why or reference is None:
        found.warnings.append(why)
        found.moved = [Moved(feature, None, reason=why) for feature in drift.features]
    else:
        rows = window.requests(wanted.now - span(found.monitor.window))
        found.moved = compared(drift, reference, sampled(rows, drift, reference.digest))
    found.gates += [in_words(gate, "input") for gate in decide_shifts(found.name, drift, found.moved)]


def _versions(found: WatchedApp, here: str) -> None:
    """Say loudly when what runs, what was accepted and what lies in the tree are not one version."""
    served = [digest for digest in found.notes.versions if digest]
    if not served:
        return
    main = max(served, key=found.notes.versions.__getitem__)
    total = found.notes.requests
    others = total - found.notes.versions[main]
    if main != here:
        found.warnings.append(f"most requests were answered by version {main[:12]}, the tree holds {here[:12]}")
    if others:
        found.warnings.append(f"{others} of {total} requests were answered by another version than {main[:12]}")
    if found.reference is not None and found.reference.digest != main:
        found.warnings.append(
            f"the reference belongs to version {found.reference.digest[:12]}, traffic was answered by {main[:12]}: "
            "labels of steps are compared only where both are one; accept the new version and set its reference"
        )


def _row(app: str, moved: Moved) -> Measurement:
    return Measurement(
        stage=STAGE,
        app=app,
        variant="candidate",
        case=f"drift-{moved.feature.id}",
        check=f"drift-{moved.feature.id}",
        metric=moved.metric,
        value=moved.shift.distance if moved.shift else None,
        status="scored" if moved.shift else "unscored",
        unit=moved.unit,
        reason=moved.reason,
    )


def _report(wanted: Watch, apps: Sequence[WatchedApp], kept: _Kept, folder: RunFolder) -> dict[str, Any]:
    gates = [(app, gate) for app in apps for gate in app.gates]
    required = {gate.verdict for _, gate in gates if gate.required}
    code = EXIT_FAIL if "fail" in required else EXIT_INCONCLUSIVE if "inconclusive" in required else EXIT_PASS
    return {
        "schema": 1,
        "run": str(folder.path),
        "now": wanted.now.isoformat(timespec="seconds"),
        "traces": str(wanted.traces),
        "answer": {EXIT_FAIL: "breached", EXIT_INCONCLUSIVE: "undecided", EXIT_PASS: "ok"}[code],
        "next_action": next_action(apps, wanted.traces),
        "exit_code": code,
        "rows": kept.count,
        "rows_kept": kept.written,
        "apps": {app.name: _app_dict(app) for app in apps},
    }


def _app_dict(app: WatchedApp) -> dict[str, Any]:
    moved = {f"drift-{each.feature.id}": each for each in app.moved}
    listed = [_answer(app, gate, moved.get(gate.id)) for gate in app.gates]
    reference = app.reference
    return {
        "indicators": [each for each in listed if each["id"] not in moved],
        "drift": [each for each in listed if each["id"] in moved],
        "reference": None if reference is None else {
            "digest": reference.digest, "made": reference.made.isoformat(), "source": reference.source,
            "inputs": reference.inputs,
        },
        "traffic": app.notes.as_dict(),
        "warnings": app.warnings,
    }  # fmt: skip


def _answer(app: WatchedApp, gate: GateVerdict, moved: Moved | None) -> dict[str, Any]:
    names = ("id", "metric", "rule", "required", "n", "clusters", "estimate", "low", "high", "confidence", "method")
    found: dict[str, Any] = {name: getattr(gate, name) for name in (*names, "reason", "why")}
    answer = ANSWERS[gate.verdict]
    found |= {"objective": gate.threshold, "unscored": gate.unscored, "p_adjusted": gate.p_adjusted}
    if moved is not None:
        answer = "drifted" if answer == "breached" else answer
        return found | {"answer": answer, "told": moved.told(), **moved.as_dict()}
    indicator = app.monitor.by_id[gate.id]
    return found | {"answer": answer, "window": indicator.window or app.monitor.window, "minimum": indicator.minimum}
