"""Approvals: a named person accepts an inconclusive verdict for exactly these digests, until a date."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from harness.errors import SignoffError, UsageError


@dataclass(frozen=True, slots=True)
class Approval:
    """Who accepted which undecided gates of which digests, why, and until when (the day itself included).

    ``apps`` maps a name to its candidate and baseline digest; ``yardstick`` holds the digests of what measured them
    (suites, checks, judges), as the run recorded them; ``gates`` names the undecided gates as app/id, and every move of
    the yardstick that needs an approval in words.
    """

    name: str
    note: str
    approved: str
    expires: str
    run_id: str
    apps: Mapping[str, Mapping[str, str | None]]
    yardstick: Mapping[str, Any]
    gates: tuple[str, ...]


def approve(run_dir: Path, path: Path, *, name: str, note: str, expires: date, today: date) -> Approval:
    """Append an approval of the run's inconclusive verdict to the JSON lines file ``path`` and return it.

    Raises UsageError for an empty name or note, an expiry before ``today``, or a verdict that is not inconclusive:
    a fail is repaired, an error is run again. Raises SignoffError when the run folder has no verdict.
    """
    verdict = _read(run_dir / "verdict.json")
    run = _read(run_dir / "run.json")
    if not name.strip() or not note.strip():
        raise UsageError("an approval needs the name of a person and a note that says why")
    if expires < today:
        raise UsageError(f"expires: {expires.isoformat()} is in the past (today is {today.isoformat()})")
    if verdict["verdict"] != "inconclusive":
        raise UsageError(f"run {verdict['run_id']} is {verdict['verdict']}: only an inconclusive verdict is approved")
    approval = Approval(
        name=name.strip(),
        note=note.strip(),
        approved=today.isoformat(),
        expires=expires.isoformat(),
        run_id=verdict["run_id"],
        apps=verdict["apps"],
        yardstick=run.get("yardstick") or {},
        gates=_undecided(verdict),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(approval), sort_keys=True) + "\n")
    return approval


def read_approvals(path: Path) -> tuple[Approval, ...]:
    """The approvals in a file, none when it does not exist; UsageError names a line of another shape."""
    if not path.exists():
        return ()
    approvals = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            approvals.append(_parse(line, f"{path}:{number}"))
    return tuple(approvals)


def apply_approval(
    verdict: Mapping[str, Any],
    approvals: Sequence[Approval],
    today: date,
    *,
    yardstick: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of verdict.json with the newest approval that covers it, if any.

    Covered, the verdict stays inconclusive, ``approval`` is filled and the exit code is 0. An approval that has
    expired or is bound to other digests or gates changes nothing, and ``reasons`` says why. ``yardstick`` is that
    of this run. Verdicts other than inconclusive come back as they are.
    """
    result = dict(verdict)
    if result["verdict"] != "inconclusive":
        return result
    refused = []
    for approval in reversed(approvals):
        why = _refusal(approval, result, today, yardstick or {})
        if why is None:
            named = f"{approval.name} on {approval.approved}, until {approval.expires}: {approval.note}"
            result |= {"approval": asdict(approval) | {"gates": list(approval.gates)}, "exit_code": 0}
            result |= {"next_action": "merge: what was undecided is approved", "reasons": [*verdict["reasons"]]}
            result["reasons"].append(f"approved by {named}")
            return result
        if set(approval.apps) & set(result["apps"]):
            refused.append(f"the approval by {approval.name} of {approval.approved} does not count: {why}")
    result["reasons"] = [*verdict["reasons"], *refused]
    return result


def _refusal(approval: Approval, verdict: Mapping[str, Any], today: date, yardstick: Mapping[str, Any]) -> str | None:
    if date.fromisoformat(approval.expires) < today:
        return f"it expired on {approval.expires}"
    for app, arms in verdict["apps"].items():
        if approval.apps.get(app) != arms:
            return f"it is bound to other digests of {app}"
    if dict(approval.yardstick) != dict(yardstick):
        return "what measures has changed since (suite, checks or judges)"
    new = sorted(set(_undecided(verdict)) - set(approval.gates))
    return f"it does not cover {', '.join(new)}" if new else None


def _undecided(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    gates = (gate for gate in verdict["gates"] if gate["required"] and gate["verdict"] == "inconclusive")
    names = [f"{gate['app']}/{gate['id']}" for gate in gates]
    return tuple(sorted([*names, *verdict.get("needs_approval", ())]))


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SignoffError(f"{path}: cannot be read ({error}); finish the run before approving it") from error
    return content


def _parse(line: str, place: str) -> Approval:
    try:
        fields = json.loads(line)
        return Approval(**{**fields, "gates": tuple(fields["gates"])})
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{place}: not an approval ({error})") from error
