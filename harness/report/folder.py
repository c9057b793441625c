"""A run folder as a report knows it: documents and scores in memory, outputs on disk."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SignoffError
from harness.report.lost import Losses
from harness.report.outputs import OUTPUTS, Outputs
from harness.report.scores import Score, Scoring
from harness.spec.measurement import Measurement, read_measurements

# What a page may ask of these objects; a run that broke early has written less.
_VERDICT = ("profile", "run_id", "next_action", "reasons", "approval", "wall_s", "model_calls", "cached_calls")
_MANIFEST = ("commit", "dirty", "started", "warnings")
_GATE: dict[str, Any] = dict.fromkeys(
    (
        "app",
        "id",
        "metric",
        "step",
        "statistic",
        "n",
        "clusters",
        "errors",
        "unscored",
        "reason",
        "why",
        "detectable",
        "changed",
        "stage",
    )
) | {"slice": "all", "required": True, "verdict": "inconclusive"}
_STAGE: dict[str, Any] = dict.fromkeys(("name", "reason", "seconds", "rows", "calls", "cached")) | {
    "status": "ok",
    "found": (),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run left behind.

    ``scores`` come with what fell first; ``units`` are those of every (app, metric), ``slices`` those that each app's
    rows name. ``problems`` names every file of the folder that could not be read to its end: a report of a broken run
    is still worth more than none.
    """

    manifest: Mapping[str, Any]
    verdict: Mapping[str, Any]
    scores: list[Score]
    units: Mapping[tuple[str, str], str]
    slices: Mapping[str, set[str]]
    losses: Losses
    outputs: Outputs
    problems: tuple[str, ...] = ()

    @property
    def gates(self) -> list[Mapping[str, Any]]:
        """The gates of the verdict, in its order."""
        return _gates(self.verdict)

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        """The stages as the manifest has them, else as the verdict has them."""
        return [_STAGE | dict(stage) for stage in self.manifest.get("stages") or self.verdict.get("stages") or ()]

    @property
    def apps(self) -> list[str]:
        """Every app that the folder speaks of, sorted."""
        named = {*(self.verdict.get("apps") or {}), *(self.manifest.get("apps") or {})}
        return sorted(named | {app for app, _ in self.units})


def read_run(run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None) -> Run:
    """The run in ``run_dir``; a manifest or verdict that is given is not read from disk.

    A missing or unreadable ``run.json`` or ``verdict.json`` raises SignoffError.
    """
    problems: list[str] = []
    document = dict.fromkeys(_VERDICT) | dict(_document(run_dir / "verdict.json") if verdict is None else verdict)
    content = dict.fromkeys(_MANIFEST) | dict(_document(run_dir / "run.json") if manifest is None else manifest)
    scoring, losses = Scoring(), Losses()
    units: dict[tuple[str, str], str] = {}
    slices: dict[str, set[str]] = defaultdict(set)
    for row in _rows(run_dir, problems):
        scoring.add(row)
        losses.row(row)
        units[row.app, row.metric] = row.unit
        slices[row.app].update(row.slices)
    outputs = Outputs(run_dir / OUTPUTS, problems, losses.output)
    # A metric's direction is that of the gates that name it.
    better = {
        (str(gate.get("app", "")), str(gate.get("metric", ""))): str(gate.get("better") or "higher")
        for gate in _gates(document)
    }
    return Run(content, document, scoring.scores(better), units, slices, losses, outputs, tuple(problems))


def _gates(verdict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_GATE | dict(gate) for gate in verdict.get("gates") or ()]


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({error}); a report needs the run's manifest and verdict"
        raise SignoffError(message) from error
    if not isinstance(document, dict):
        message = f"{path}: holds a {type(document).__name__}, not an object"
        raise SignoffError(message)
    return document


def _rows(run_dir: Path, problems: list[str]) -> Iterator[Measurement]:
    for path in sorted((run_dir / "measurements").glob("*.jsonl")):
        try:
            yield from read_measurements(path)
        except SignoffError as error:
            # Only the place inside the folder: the same folder elsewhere must give the same bytes.
            problems.append(f"{str(error).replace(str(run_dir), '.')} The rows after it are not in this report.")
