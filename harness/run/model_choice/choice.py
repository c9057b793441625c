"""``signoff models compare``: every candidate trained if it must be, asked, timed, and put beside the others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.evals import bind_checks
from harness.evals.scoring import BoundCheck
from harness.run.manifest import iso, manifest
from harness.run.model_choice.child import CandidateGateway, first_line
from harness.run.model_choice.entry import Measured, entry, one_of_each
from harness.run.model_choice.quality import STAGE, Asked, Yardstick, ask
from harness.run.model_choice.speed import Speed, Timed, time_all
from harness.run.model_choice.standing import ERROR, stand
from harness.run.model_choice.training import Training, Workshop, make, own_training
from harness.run.model_choice.variants import Variant, variant
from harness.run.options import Options
from harness.run.plan import Plan, code_problems
from harness.run.proposals import proposals
from harness.run.stages.asking import load_cases
from harness.spec.candidates import CANDIDATES, Candidate, Candidates
from harness.spec.git import Revision
from harness.spec.repository import Repository, load_repository
from harness.store import JsonLines, RunFolder

DATA = "models.json"
PAGE = "models.html"
LATENCY_CASES = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for: how many cases are timed, whether to train, which candidates (none: all).

    ``processes`` train one candidate together.
    """

    latency_cases: int = LATENCY_CASES
    train: bool = True
    only: tuple[str, ...] = ()
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The finished comparison: its run folder and what ``models.json`` holds."""

    folder: RunFolder
    data: Mapping[str, Any]


@dataclass
class _Work:
    """One comparison on its way. ``left_out`` and ``broken`` hold reasons by candidate."""

    options: Options
    wanted: Wanted
    training: Training
    repository: Repository
    app: str
    found: Candidates
    check: BoundCheck
    folder: RunFolder
    left_out: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> list[Candidate]:
        """The candidates that were asked for, in the file's order."""
        return [each for each in self.found.candidates if not self.wanted.only or each.id in self.wanted.only]

    def tell(self, text: str) -> None:
        """Say on standard error what is being done."""
        import sys

        if not self.options.quiet:
            print(text, file=sys.stderr, flush=True)

    def gateway(self, found: Variant, what: str) -> CandidateGateway:
        """The candidate's own process, not started."""
        log = self.folder.artifacts(STAGE) / f"{found.id}-{what}.log"
        return CandidateGateway(self.options.root, self.options.cache, self.app, found, log)

    def attempt(self, candidate: str, do: Callable[[], Any]) -> Any:
        """What ``do`` gives; what breaks it is this candidate's reason, and the others go on."""
        try:
            return do()
        except UsageError as error:
            self.left_out[candidate] = first_line(error) if not error.problems else str(error.problems[0])
        except Exception as error:  # training and merging run other people's code, which raises whatever it likes
            self.broken[candidate] = first_line(error)
        return None


def compare_models(options: Options, wanted: Wanted, training: Training | None = None) -> Choice:
    """Measure the candidates of the app ``options.apps[0]`` and write a run folder with table, page and rows.

    A candidate that cannot be measured leaves the others: the data say why. UsageError: the files are wrong, the app
    has no candidates, or fewer than two of them can be measured.
    """
    started = time.time()
    work = _prepare(options, wanted, training or own_training())
    variants = [found for each in work.chosen if (found := _variant(work, each)) is not None]
    cases = _cases(work)
    suite = work.repository.suites[work.app].suite
    by = Yardstick(work.app, suite, work.check, cases, options.cache, options.quiet)
    with contextlib.ExitStack() as stack:
        rows = stack.enter_context(work.folder.jsonl(f"measurements/{STAGE}.jsonl"))
        outputs = stack.enter_context(work.folder.jsonl(f"artifacts/{STAGE}/outputs.jsonl"))
        asked = {found.id: each for found in variants if (each := _ask(work, found, by, rows, outputs)) is not None}
        answered = [found for found in variants if found.id in asked]
        _enough(work, len(answered))
        timed = _time(work, answered, by, rows)
    data = _data(work, by, answered, asked, timed)
    return Choice(_finish(work, data, asked, started), data)


def _enough(work: _Work, answered: int) -> None:
    """Nobody waits for the times of a single candidate."""
    if answered < 2:
        why = "; ".join(f"{name}: {text}" for name, text in {**work.left_out, **work.broken}.items())
        kind = SignoffError if work.broken else UsageError
        raise kind(f"{answered} of {len(work.chosen)} candidates could be measured, two are needed; {why}")


def _prepare(options: Options, wanted: Wanted, training: Training) -> _Work:
    app = options.apps[0]
    repository = load_repository(options.root, only=options.apps)
    suite = repository.suites[app]
    if suite.candidates is None:
        raise UsageError(f"app {app!r} has no suites/{app}/{CANDIDATES}; docs/models.md says what stands in one")
    if wrong := code_problems(repository):
        raise UsageError.of(wrong)
    known = [each.id for each in suite.candidates.candidates]
    if unknown := [name for name in wanted.only if name not in known]:
        raise UsageError(f"no candidate {unknown[0]!r} in suites/{app}/{CANDIDATES}; there are: {', '.join(known)}")
    if len(set(wanted.only)) == 1:
        raise UsageError(f"one candidate leaves nothing to compare; give several of: {', '.join(known)}")
    metric = suite.candidates.metric.split(".")[0]
    checks = bind_checks(suite.suite, options.root / "suites" / app, app)
    check = next(bound for bound in checks if bound.spec.id == metric)
    check.check.prepare()
    folder = RunFolder.create(options.reports)
    return _Work(options, wanted, training, repository, app, suite.candidates, check, folder)


def _variant(work: _Work, candidate: Candidate) -> Variant | None:
    def build() -> Variant:
        made = None
        if candidate.recipe is not None:
            work.tell(f"{candidate.id}: its adapter is taken from the cache, or trained now")
            options = work.options
            wanted = work.wanted
            shop = Workshop(
                work.repository, options.cache, work.training, wanted.train, not options.quiet, wanted.processes
            )
            made = make(shop, candidate)
            if made is None:
                raise UsageError("nobody trained it yet, and --no-train was given")
        return variant(work.repository, work.app, work.found, candidate, work.check.spec, made)

    found: Variant | None = work.attempt(candidate.id, build)
    return found


def _cases(work: _Work) -> list[Any]:
    cases = [case for case in load_cases(work.repository.suites[work.app], work.options) if work.check.applies(case)]
    if not cases:
        raise UsageError(f"check {work.check.spec.id!r} applies to no case of suites/{work.app}; nothing to measure")
    return cases


def _ask(work: _Work, found: Variant, by: Yardstick, rows: JsonLines, outputs: JsonLines) -> Asked | None:
    def run() -> Asked:
        with work.gateway(found, "quality") as gateway:
            asked = ask(found, by, gateway, rows.write, outputs.write)
        if asked.broken:
            raise SignoffError(asked.broken)
        if not any(row.metric == work.found.metric and row.value is not None for row in asked.rows):
            why = next((row.reason for row in asked.rows if row.reason), f"no row of {work.found.metric!r}")
            raise SignoffError(f"no answer could be scored: {why}")
        return asked

    result: Asked | None = work.attempt(found.id, run)
    return result


def _time(work: _Work, variants: Sequence[Variant], by: Yardstick, rows: JsonLines) -> list[Timed]:
    """One measurement of all together; one for each where their models do not fit into memory side by side."""
    count = work.wanted.latency_cases
    if count == 0 or not variants:
        return []
    parts = [list(variants)] if one_of_each([found.model for found in variants]) else [[each] for each in variants]
    work.tell(f"timing {count} cases of each candidate, one question at a time")
    timed = []
    for part in parts:
        with contextlib.ExitStack() as stack:
            gateways = {each.id: stack.enter_context(work.gateway(each, "latency")) for each in part}
            timed.append(time_all(gateways, part, by, count, rows.write))
    return timed


def _data(
    work: _Work, by: Yardstick, answered: Sequence[Variant], asked: Mapping[str, Asked], timed: Sequence[Timed]
) -> dict[str, Any]:
    rows = {found.id: asked[found.id].rows for found in answered}
    standing = stand(rows, work.found.metric, work.check, work.found.slices)
    speeds: dict[str, Speed] = {name: speed for part in timed for name, speed in part.speeds.items()}
    measured = [Measured(found, asked[found.id], speeds.get(found.id, Speed())) for found in answered]
    higher = work.check.check.better == "higher"
    lost = {**work.left_out, **work.broken}
    reasons = [
        {"id": each.id, "reason": lost[each.id], "broken": each.id in work.broken}
        for each in work.chosen
        if each.id in lost
    ]
    return {
        "app": work.app,
        "step": work.found.step,
        "metric": work.found.metric,
        "unit": next((row.unit for row in rows[answered[0].id] if row.metric == work.found.metric), ""),
        "better": "higher" if higher else "lower",
        "confidence": 1 - ERROR,
        "cases": len(by.cases),
        "slices": list(work.found.slices),
        "reference": answered[0].id,
        "candidates": entry(measured, standing, higher=higher),
        "not_measured": reasons,
        "proposals": proposals(work.repository),
        "machine_load": [_load(part) for part in timed],
        "interleaved": len(timed) <= 1,
        "latency_cases": min(work.wanted.latency_cases, len(by.cases)),
    }


def _load(part: Timed) -> dict[str, Any]:
    return {"stolen": part.stolen, "busy": part.busy, "load_average": part.load, "seconds": round(part.seconds, 3)}


def _finish(work: _Work, data: Mapping[str, Any], asked: Mapping[str, Asked], started: float) -> RunFolder:
    from harness.report.model_choice import model_page

    folder, revision = work.folder, Revision("", None, "candidates of one step are compared")
    plan = Plan(work.repository, revision, None, {}, served=False)
    times = {"run_id": folder.run_id, "started": iso(started), "finished": iso(time.time())}
    said = manifest(work.options, plan, [], times | {"wall_s": round(time.time() - started, 3)}, [])
    calls = {
        "model_calls": sum(each.model_calls for each in asked.values()),
        "cached_calls": sum(each.cached_calls for each in asked.values()),
    }
    folder.write_json(DATA, data)
    facts = {**said, **calls, "kind": "models"}
    (folder.path / PAGE).write_text(model_page(data, facts), encoding="utf-8")
    folder.finish(facts)
    return RunFolder(Path(folder.path), facts)
