"""A run folder read into memory: all that a report may know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import SignoffError
from harness.spec.measurement import Measurement, read_measurements

OUTPUTS = "artifacts/regression/outputs.jsonl"

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
    )
) | {"slice": "all", "required": True, "verdict": "inconclusive"}
_STAGE: dict[str, Any] = dict.fromkeys(("name", "reason", "seconds", "rows", "calls", "cached")) | {"status": "ok"}

OutputKey: TypeAlias = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run left behind.

    ``outputs`` is keyed by app, variant, case and repeat. ``problems`` names every file of the folder that could
    not be read to its end: a report of a broken run is still worth more than none.
    """

    manifest: Mapping[str, Any]
    verdict: Mapping[str, Any]
    rows: tuple[Measurement, ...]
    outputs: Mapping[OutputKey, Mapping[str, Any]]
    problems: tuple[str, ...] = ()

    @property
    def gates(self) -> list[Mapping[str, Any]]:
        """The gates of the verdict, in its order."""
        return [_GATE | dict(gate) for gate in self.verdict.get("gates") or ()]

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        """The stages as the manifest has them, else as the verdict has them."""
        return [_STAGE | dict(stage) for stage in self.manifest.get("stages") or self.verdict.get("stages") or ()]

    @property
    def apps(self) -> list[str]:
        """Every app that the folder speaks of, sorted."""
        named = {*(self.verdict.get("apps") or {}), *(self.manifest.get("apps") or {})}
        return sorted(named | {row.app for row in self.rows})


def read_run(run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None) -> Run:
    """The run in ``run_dir``; a manifest or verdict that is given is not read from disk.

    A missing or unreadable ``run.json`` or ``verdict.json`` raises SignoffError.
    """
    problems: list[str] = []
    rows = tuple(_rows(run_dir, problems))
    outputs = {_key(row): row for row in _json_lines(run_dir / OUTPUTS, problems)}
    return Run(
        manifest=dict.fromkeys(_MANIFEST) | dict(_document(run_dir / "run.json") if manifest is None else manifest),
        verdict=dict.fromkeys(_VERDICT) | dict(_document(run_dir / "verdict.json") if verdict is None else verdict),
        rows=rows,
        outputs=outputs,
        problems=tuple(problems),
    )


def _key(row: Mapping[str, Any]) -> OutputKey:
    app, variant, case = (str(row.get(name, "")) for name in ("app", "variant", "case"))
    return app, variant, case, int(row.get("repeat") or 0)


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


def _json_lines(path: Path, problems: list[str]) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                # A model may emit half a character; the standard parser keeps lone surrogates, orjson refuses them.
                row = json.loads(line.decode("utf-8", "replace"))
            except ValueError as error:
                problems.append(f"{OUTPUTS}:{number}: not a JSON line ({error}); its output is not in this report.")
                continue
            if isinstance(row, dict):
                yield row
