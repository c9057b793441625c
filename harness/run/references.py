"""References for monitoring: kept by every accepted run, made anew from a run or from traffic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from harness.data import load_anonymiser
from harness.errors import SignoffError, UsageError
from harness.monitor import (
    Input,
    Reference,
    TraceWindow,
    longest,
    make_input,
    make_reference,
    read_reference,
    sampled,
    write_reference,
)
from harness.run.options import Options
from harness.run.plan import Plan
from harness.run.stages.asking import load_cases
from harness.spec.language import PACKAGE, installed
from harness.spec.monitor import Drift, DriftFeature
from harness.spec.repository import SuiteFiles
from harness.spec.serving import Privacy, load_serving
from harness.spec.suites import Case
from harness.store import RunFolder, digest_of, read_lines, write_atomic

if TYPE_CHECKING:
    from harness.data import Texts

FOLDER = "artifacts/monitor"
# What the anonymiser makes of a text may change with its version: raise this when it does.
_REVISION = 1


def keep_references(options: Options, plan: Plan, folder: RunFolder) -> list[str]:
    """Write the reference of every app that declares drift into the folder of an accepted run; warnings.

    A reference that cannot be made takes nothing from the verdict. Texts are anonymised once for as long as the cases
    stay what they are, so that a run which calls no model stays a matter of seconds.
    """
    warnings = []
    for name, suite in plan.repository.suites.items():
        if suite.monitor is None or suite.monitor.drift is None:
            continue
        try:
            found = of_run(name, suite, suite.monitor.drift, options, plan, folder)
        except SignoffError as error:
            warnings.append(f"{name}: this run keeps no reference for monitoring: {str(error).splitlines()[0]}")
            continue
        folder.write_json(f"{FOLDER}/{name}.json", found.as_dict())
    return warnings


def of_run(app: str, suite: SuiteFiles, drift: Drift, options: Options, plan: Plan, folder: RunFolder) -> Reference:
    """The reference of the cases that a run asked, one of each group; SignoffError when its outputs are damaged."""
    firsts: dict[str, Case] = {}
    for case in load_cases(suite, options):
        firsts.setdefault(case.cluster, case)
    cases = list(firsts.values())
    labels = _labels(app, drift, folder)
    texts = _anonymised([_text(case) for case in cases], options)
    inputs = [make_input(text, labels.get(case.id)) for case, text in zip(cases, texts, strict=True)]
    digest = plan.repository.apps[app].digest
    known = [_REVISION, version(PACKAGE) if installed() else "", drift.model_dump(mode="json")]
    key = digest_of([*known, app, digest, [[each.text, each.length, dict(each.labels)] for each in inputs]])
    kept = options.cache / "monitor" / f"{key}.json"
    source, now = f"cases of run {folder.run_id}", datetime.now(UTC)
    if (found := _cached(kept, app)) is not None:
        return replace(found, source=source, made=now)
    made = make_reference(app, digest, drift, inputs, source, now)
    write_reference(kept, made)
    return made


def _cached(path: Path, app: str) -> Reference | None:
    """What was made of the same inputs before; a spoilt file is made again."""
    try:
        return read_reference(path, app)
    except UsageError:
        return None


def of_traffic(window: TraceWindow, drift: Drift, digest: str, made: datetime) -> Reference:
    """The reference of what users sent in a window; UsageError when that is too little."""
    inputs: Sequence[Input] = sampled(window.requests(), drift, digest)
    if len(inputs) < drift.minimum:
        message = f"the log holds inputs of {len(inputs)} users with text: {drift.minimum} are needed"
        raise UsageError(f"{message}; name a longer --window, or take --from RUN")
    times = f"{window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC"
    return make_reference(window.app, digest, drift, inputs, f"traffic of {times}", made)


def _text(case: Case) -> str:
    return case.messages[-1].content if case.messages else longest(case.inputs)


def _labels(app: str, drift: Drift, folder: RunFolder) -> Mapping[str, Mapping[str, str]]:
    """Case -> feature -> what the step said."""
    steps = [feature for feature in drift.features if feature.kind == "step"]
    outputs = folder.path / "artifacts" / "regression" / "outputs.jsonl"
    if not steps or not outputs.is_file():
        return {}
    found: dict[str, dict[str, str]] = {}
    for row in read_lines(outputs):
        if row["app"] == app and row["variant"] == "candidate" and row["repeat"] == 0:
            found[row["case"]] = dict(_step_labels(row["steps"], steps))
    return found


def _step_labels(steps: Mapping[str, Any], features: Sequence[DriftFeature]) -> Iterator[tuple[str, str]]:
    for feature in features:
        value = (steps.get(feature.step) or {}).get("output")
        for part in feature.field.split(".") if feature.field else ():
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            yield feature.id, value if isinstance(value, str) else orjson.dumps(value).decode()


def _anonymised(texts: Sequence[str], options: Options) -> list[str]:
    """The texts as the log of requests would hold them; empty ones where nothing can anonymise them."""
    privacy = load_serving(options.root).privacy
    key = digest_of([_REVISION, privacy.model_dump(mode="json"), list(texts)])
    kept = options.cache / "monitor" / f"{key}.json"
    if kept.is_file():
        found: list[str] = orjson.loads(kept.read_bytes())
        return found
    anonymiser = _anonymiser(privacy)
    if anonymiser is None:
        return [""] * len(texts)
    done = [anonymiser.anonymise(text).text for text in texts]
    write_atomic(kept, orjson.dumps(done))
    return done


def _anonymiser(privacy: Privacy) -> Texts | None:
    try:
        return load_anonymiser(privacy)
    except UsageError:
        return None


def accepted(run: RunFolder, app: str) -> Path:
    """The reference that an accepted run kept of ``app``; UsageError for a run that was not accepted, or kept none."""
    verdict = run.read_json("verdict.json")
    if verdict.get("exit_code") != 0:
        message = (
            f"run {run.run_id} is {verdict.get('verdict')} and was not approved: only an accepted run is a reference"
        )
        raise UsageError(message)
    path = run.path / FOLDER / f"{app}.json"
    if not path.is_file():
        message = (
            f"run {run.run_id} kept no reference of {app}: it had no drift in monitor.yaml; run signoff gate again"
        )
        raise UsageError(message)
    if altered := [name for name in run.altered() if name == f"{FOLDER}/{app}.json"]:
        raise UsageError(f"run {run.run_id}: {altered[0]} is not what was written; run signoff gate again")
    return path


__all__ = ["FOLDER", "accepted", "keep_references", "of_run", "of_traffic"]
