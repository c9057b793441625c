"""The load stage: both arms of every app under the load that its profile says, in alternating blocks."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path

import orjson

from harness.errors import SignoffError, UsageError
from harness.evals import Progress
from harness.load import (
    Asker,
    Generated,
    Generator,
    KeptRuns,
    LoadPlan,
    MachineWatch,
    Noise,
    Sample,
    body_of,
    control_of,
    headers_of,
    key_of,
    lag_p95,
    require_locust,
)
from harness.run.load_subject import STAGE, LoadResult, LoadServer, LoadSubject
from harness.run.stages.record import Context, StageReport

_FIRST_ANSWER_S = 600.0


def prepare(context: Context) -> None:
    """UsageError: no case of an app fits its load profile."""
    for name, suite in context.suites():
        assert suite.load is not None
        LoadSubject.of(context, name, suite, suite.load)


def measure(context: Context) -> StageReport:
    """Run the stage. An app whose run is void has rows without values, which no gate passes on."""
    started, report = time.monotonic(), StageReport(STAGE)
    with LoadServer(context) as server, context.folder.jsonl(f"measurements/{STAGE}.jsonl") as rows:
        for name, suite in context.suites():
            assert suite.load is not None
            begun = time.monotonic()
            subject = LoadSubject.of(context, name, suite, suite.load)
            result = _measured(context, subject, server)
            subject.write(context, report, result, rows.write)
            rows.flush()
            report.apps[name]["seconds"] = round(time.monotonic() - begun, 3)
            if result.interrupted:
                break
    report.seconds = time.monotonic() - started
    return report


def _measured(context: Context, subject: LoadSubject, server: LoadServer) -> LoadResult:
    """A kept result, or a new one."""
    kept = KeptRuns(context.options.cache / "load")
    key = key_of(subject.digests, subject.profile, subject.schedule)
    reusable = subject.pinned and not context.options.url and not context.options.fresh
    if reusable and (found := kept.find(key)) is not None:
        folder = context.folder.artifacts(f"{STAGE}/{subject.name}")
        _write_samples(folder / "samples.jsonl", found.samples)
        return LoadResult(Generated(found.samples), found.noise, found.when)
    require_locust()
    result = _generated(context, subject, server)
    if reusable and not result.generated.broken and not subject.void(result):
        kept.keep(key, result.generated.samples, result.noise)
    return result


def _generated(context: Context, subject: LoadSubject, server: LoadServer) -> LoadResult:
    options, folder = context.options, context.folder.artifacts(f"{STAGE}/{subject.name}")
    try:
        plan = LoadPlan(
            app=subject.name,
            url=server.url(),
            arms=subject.arms,
            schedule=subject.schedule,
            samples=folder / "samples.jsonl",
            timeout_s=subject.profile.timeout_s,
            seed=subject.profile.seed,
            key_env=options.key_env,
        )
        _first_answers(plan, server.alive)
    except UsageError:
        raise
    except SignoffError as error:
        return LoadResult(Generated({}, str(error)))
    context.folder.write_json(f"artifacts/{STAGE}/{subject.name}/schedule.json", subject.schedule.as_dict())
    watch = MachineWatch(server.pids)
    with _advancing(Progress(f"{subject.name} (load)", subject.schedule.requests, quiet=options.quiet)) as advance:
        generated = Generator(plan, folder, watch.look, advance, server.alive).run()
    counted = [generated.samples[shot.number] for _, shot in subject.schedule.measured()
               if shot.number in generated.samples]  # fmt: skip
    stolen, busy = watch.shares()
    # A server elsewhere keeps no core of this machine busy, but whatever does keeps the generator late.
    noise = Noise(stolen, busy, lag_p95(counted), control_of(subject.schedule, generated.samples))
    return LoadResult(generated, noise)


@contextlib.contextmanager
def _advancing(progress: Progress) -> Iterator[Callable[[int], None]]:
    def advance(count: int) -> None:
        for _ in range(count):
            progress.advance(failed=False)

    with progress:
        yield advance


def _first_answers(plan: LoadPlan, alive: Callable[[], None]) -> None:
    """Ask each arm once before any clock runs, which loads its model; SignoffError for one that cannot answer.

    A refusal (4xx) is an answer: the baseline may not know an input that the candidate's cases have.
    """
    import urllib3

    key = os.environ.get(plan.key_env) if plan.key_env else None
    with urllib3.PoolManager(retries=False, timeout=_FIRST_ANSWER_S) as pool:
        asker = Asker(pool, plan.url, headers_of(key), _FIRST_ANSWER_S)
        for arm in plan.arms.values():
            body = body_of(plan.schedule.cases[0], arm.model, plan.seed)
            sample = asker.ask(0, body, arm, time.monotonic())
            broken = bool(sample.failure) and (sample.status or 500) >= HTTPStatus.INTERNAL_SERVER_ERROR
            if broken or sample.foreign:
                alive()
                why = sample.foreign or f"{arm.model} does not answer: {sample.reason}"
                raise SignoffError(f"nothing was measured: {why}")


def _write_samples(path: Path, samples: Mapping[int, Sample]) -> None:
    with path.open("wb") as out:
        for sample in samples.values():
            out.write(orjson.dumps(sample.as_dict(), option=orjson.OPT_APPEND_NEWLINE))
