"""Measuring in parts: stages in other jobs, each a run folder without a verdict; then put together.

A part is trusted as far as its manifest goes: the bytes are those that were written, and they were measured on exactly
the digests and by exactly the yardstick that are under review here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from harness.errors import UsageError
from harness.run.harness_code import harness_digest
from harness.run.manifest import iso, manifest, mart_files, yardstick_of
from harness.run.options import Options
from harness.run.plan import Plan
from harness.run.stages import STAGES, StageReport
from harness.run.yardstick import old_digests
from harness.safety.findings import FILE as FINDINGS
from harness.safety.findings import joined
from harness.store import RunFolder, open_run


def take_parts(options: Options, plan: Plan, folder: RunFolder, untouched: Collection[str] = ()) -> list[StageReport]:
    """Copy what the parts measured into ``folder``; a report for each stage that some suite declares.

    Of apps that are ``untouched`` by the change no part need have measured anything but the stage ``data``.
    UsageError: a part is not whole, was altered, measured something else, or measured what another one did.
    """
    reports: dict[str, StageReport] = {}
    for part in [open_run(path, options.reports) for path in options.parts]:
        _same_subject(part, options, plan)
        for entry in part.manifest["stages"]:
            if entry["status"] == "skipped":
                continue
            taken = StageReport.of(entry)
            if taken.name in reports:
                _disjoint(reports[taken.name], taken, part)
            _copy(part.path, folder.path, taken.name)
            reports[taken.name] = _joined(reports[taken.name], taken) if taken.name in reports else taken
    return list(_complete(reports, plan, untouched))


def _complete(reports: Mapping[str, StageReport], plan: Plan, untouched: Collection[str]) -> Iterator[StageReport]:
    for stage in STAGES.values():
        wanted = {name for name, suite in plan.repository.suites.items() if stage.applies(suite)}
        wanted -= set() if stage.name == "data" else set(untouched)
        report = reports.get(stage.name)
        if report is None:
            if wanted:
                yield StageReport(stage.name, skipped="no part measured it")
            continue
        if absent := sorted(wanted - set(report.apps)):
            report.broken = report.broken or f"no part measured {', '.join(absent)}"
        yield report


def _same_subject(part: RunFolder, options: Options, plan: Plan) -> None:
    where = f"part {part.run_id}"
    if altered := part.altered():
        message = f"{where}: {altered[0]} is not what was written; fetch the part again or measure it anew"
        raise UsageError(message)
    said: Mapping[str, Any] = part.manifest
    if said.get("harness") != harness_digest():
        message = f"{where} was measured by another version of the harness ({_commit(said)}); measure it on this commit"
        raise UsageError(message)
    if said.get("profile") != options.profile:
        message = f"{where} was measured with --profile {said.get('profile')}, this run is --profile {options.profile}"
        raise UsageError(message)
    for name in plan.repository.apps:
        base = plan.baselines.get(name)
        here: dict[str, str | None] = {
            "candidate": plan.repository.apps[name].digest,
            "baseline": base.digest if base else None,
        }
        for arm, digest in here.items():
            there = (said.get("apps") or {}).get(name, {}).get(arm)
            if name in said.get("apps", {}) and there != digest:
                message = (
                    f"{where} ({_commit(said)}) measured {name} {arm} {str(there)[:12]}, "
                    f"under review is {str(digest)[:12]}"
                )
                raise UsageError(f"{message}; measure it on this commit")
    now, then = yardstick_of(plan), said.get("yardstick") or {}
    if moved := sorted(name for name in then if name in now and now[name] != then[name]):
        message = f"{where} measured {', '.join(moved)} with other cases, checks or gates; measure it on this commit"
        raise UsageError(message)
    now, then = mart_files(plan.repository), said.get("marts") or {}
    if moved := sorted(name for name in now if then.get(name) != now[name]):
        message = f"{where} was measured beside another mart {moved[0]} ({_commit(said)}); measure it on this commit"
        raise UsageError(message)
    before, then = old_digests(plan), said.get("old_yardstick") or {}
    if moved := sorted(name for name in then if name in before and before[name] != then[name]):
        message = f"{where} measured {', '.join(moved)} beside another baseline's cases; measure it on this commit"
        raise UsageError(message)


def _commit(said: Mapping[str, Any]) -> str:
    return f"commit {str(said.get('commit') or 'unknown')[:12]}" + (", files edited" if said.get("dirty") else "")


def _disjoint(one: StageReport, other: StageReport, part: RunFolder) -> None:
    if twice := sorted(set(one.apps) & set(other.apps)):
        message = f"part {part.run_id} measured stage {one.name} of {', '.join(twice)} as another part did; give one"
        raise UsageError(message)


def _joined(one: StageReport, other: StageReport) -> StageReport:
    return StageReport(
        one.name,
        broken=one.broken or other.broken,
        seconds=one.seconds + other.seconds,
        rows=one.rows + other.rows,
        model_calls=one.model_calls + other.model_calls,
        cached_calls=one.cached_calls + other.cached_calls,
        outputs=one.outputs + other.outputs,
        errors=one.errors + other.errors,
        looks=max(one.looks, other.looks),
        apps=one.apps | other.apps,
        served=one.served | other.served,
        found=one.found + other.found,
    )


def _copy(source: Path, target: Path, stage: str) -> None:
    files = [source / "measurements" / f"{stage}.jsonl"]
    files += [path for path in (source / "artifacts" / stage).rglob("*") if path.is_file()]
    for file in files:
        if not file.is_file():
            continue
        there = target / file.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        if file.name == FINDINGS and there.is_file():
            _join_findings(file, there)
            continue
        # Rows and outputs of several apps go into one file, as a run in one piece writes them.
        with there.open("ab" if file.suffix == ".jsonl" else "wb") as out, file.open("rb") as data:
            shutil.copyfileobj(data, out)


def _join_findings(source: Path, target: Path) -> None:
    both = joined(orjson.loads(target.read_bytes()), orjson.loads(source.read_bytes()))
    target.write_bytes(orjson.dumps(both, option=orjson.OPT_INDENT_2))


def finish_part(options: Options, plan: Plan, folder: RunFolder, stages: Sequence[StageReport], started: float) -> None:
    """Write the manifest of a run that decides nothing."""
    times = {"run_id": folder.run_id, "started": iso(started), "finished": iso(time.time())}
    folder.finish(manifest(options, plan, stages, times | {"wall_s": round(time.time() - started, 3)}, []))
