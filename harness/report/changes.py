"""What changed between baseline and candidate, app by app, and what exactly was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.report.figures import digest
from harness.report.folder import Run


@dataclass(frozen=True, slots=True)
class AppChange:
    """One app's two digests, and what lies between them; ``parts`` holds (name, baseline, candidate) digests."""

    app: str
    state: Literal["changed", "same", "new", "removed"]
    baseline: str
    candidate: str
    pinned: bool
    changes: tuple[str, ...]
    parts: tuple[tuple[str, str, str], ...]

    @property
    def sentence(self) -> str:
        """The change in one line of plain text."""
        if self.state == "same":
            return f"{self.app}: nothing changed ({digest(self.candidate, 8)})"
        if self.state == "new":
            return f"{self.app}: new, no baseline ({digest(self.candidate, 8)})"
        arrow = f"{self.app}: {digest(self.baseline, 8)} → {digest(self.candidate, 8)}"
        return f"{arrow}, {'; '.join(self.changes)}" if self.changes else arrow


def app_changes(run: Run) -> list[AppChange]:
    """One entry per app, sorted by name."""
    return [_change(run, app) for app in run.apps]


def plain_items(found: Any) -> tuple[str, ...]:
    """A manifest's free-form list as lines of text."""
    if isinstance(found, str):
        return (found,)
    if isinstance(found, Mapping):
        return tuple(f"{key}: {_plain(entry)}" for key, entry in found.items())
    return tuple(_plain(entry) for entry in found or ())


def _change(run: Run, app: str) -> AppChange:
    known = dict((run.manifest.get("apps") or {}).get(app) or {})
    judged = (run.verdict.get("apps") or {}).get(app) or {}
    baseline = str(judged.get("baseline") or known.get("baseline") or "")
    candidate = str(judged.get("candidate") or known.get("candidate") or "")
    parts = _parts(known.get("digests"), known.get("baseline_digests"))
    listed = plain_items(known.get("changes")) or _of_run(run, app)
    changes = tuple(line.removeprefix(f"{app}: ") for line in listed)
    if not changes:
        changes = tuple(f"{name} {digest(a, 8)} → {digest(b, 8)}" for name, a, b in parts if a and a != b)
    return AppChange(
        app=app,
        state=_state(baseline, candidate),
        baseline=baseline,
        candidate=candidate,
        pinned=bool(known.get("pinned", True)),
        changes=changes,
        parts=parts,
    )


def _state(baseline: str, candidate: str) -> Literal["changed", "same", "new", "removed"]:
    if not baseline:
        return "new"
    if not candidate:
        return "removed"
    return "same" if baseline == candidate else "changed"


def _of_run(run: Run, app: str) -> tuple[str, ...]:
    found = run.manifest.get("changes")
    if isinstance(found, Mapping):
        return plain_items(found.get(app))
    # A list for the whole run is unambiguous only where the run is about one app.
    return plain_items(found) if len(run.apps) == 1 else ()


def _parts(candidate: Any, baseline: Any) -> tuple[tuple[str, str, str], ...]:
    before, after = _flat(baseline), _flat(candidate)
    return tuple((name, before.get(name, ""), after.get(name, "")) for name in sorted({*before, *after}))


def _flat(parts: Any, prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        path = f"{prefix}{name}"
        flat.update(_flat(part, f"{path}.") if isinstance(part, Mapping) else {path: _plain(part)})
    return flat


def _plain(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, Mapping) and entry and all(isinstance(v, str) for v in entry.values()):
        return ", ".join(f"{key} {text}" for key, text in entry.items())
    return json.dumps(entry, ensure_ascii=False, sort_keys=True)
