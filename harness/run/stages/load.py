"""The load stage: both arms of every app under the load that its profile says, in alternating blocks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from harness.errors import SignoffError
from harness.evals import Progress
from harness.load import (
    Arm,
    Asker,
    Generated,
    Generator,
    KeptRuns,
    LoadPlan,
    MachineWatch,
    Noise,
    Sample,
    Schedule,
    Scorer,
    body_of,
    control_of,
    headers_of,
    key_of,
    lag_p95,
    make_schedule,
    require_locust,
    sentences,
    summary,
)
from harness.run.stages.asking import load_cases
from harness.run.stages.record import Context, StageReport
from harness.serve import LocalServer
from harness.spec.load import LoadProfile
from harness.spec.measurement import Variant, encode
from harness.spec.repository import SuiteFiles

NAME = "load"
_FIRST_ANSWER_S = 600.0


def measure(context: Context) -> StageReport:
    """Run the stage. An app whose run is void has rows without values, which no gate passes on."""
    started, report = time.monotonic(), StageReport(NAME)
    with _Server(context) as server, context.folder.jsonl(f"measurements/{NAME}.jsonl") as rows:
        for name, suite in context.suites():
            assert suite.load is not None
            begun = time.monotonic()
            subject = _Subject.of(context, name, suite, suite.load)
            result = _measured(context, subject, server)
            subject.write(context, report, result, rows.write)
            rows.flush()
            report.apps[name]["seconds"] = round(time.monotonic() - begun, 3)
            if result.interrupted:
                break
    report.seconds = time.monotonic() - started
    return report


@dataclass
class _Server:
    """The gateway that is asked: started when the first app needs it, or a server that runs already."""

    context: Context
    _local: LocalServer | None = None

    def url(self) -> str:
        """The address up to ``/v1``."""
        options, plan = self.context.options, self.context.plan
        if options.url:
            return options.url
        if self._local is None:
            args = {
                "root": str(options.root),
                "cache": str(options.cache),
                "apps": list(self.context.apps),
                "baseline": str(plan.baseline_root) if plan.baseline_root else None,
            }
            log = self.context.folder.artifacts(NAME) / "gateway.log"
            local = LocalServer("harness.run.load_gateway:build_load_gateway", args=args, log=log)
            self._local = local.__enter__()
        return f"{self._local.url}/v1"

    @property
    def pids(self) -> tuple[int, ...]:
        """The process of our own gateway."""
        return (self._local.pid,) if self._local is not None and self._local.pid else ()

    def alive(self) -> None:
        """Raise SignoffError with our gateway's last words when it died."""
        if self._local is not None:
            self._local.check()

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self._local is not None:
            self._local.stop()


@dataclass(frozen=True)
class _Result:
    """Samples of one app with their noise; ``broken``: why they are not whole, ``when``: of a kept result."""

    generated: Generated
    noise: Noise = field(default_factory=Noise)
    when: float = 0.0

    @property
    def interrupted(self) -> bool:
        return self.generated.broken == "interrupted"


@dataclass(frozen=True)
class _Subject:
    """One app with its load and its arms."""

    name: str
    profile: LoadProfile
    schedule: Schedule
    arms: Mapping[Variant, Arm]
    pinned: bool

    @classmethod
    def of(cls, context: Context, name: str, suite: SuiteFiles, profile: LoadProfile) -> _Subject:
        plan, options = context.plan, context.options
        files = plan.repository.apps[name]
        arms: dict[Variant, Arm] = {"candidate": Arm(name, files.digest)}
        if plan.changed(name) and "baseline" in options.variants and not options.url:
            arms = {"baseline": Arm(f"{name}@baseline", plan.baselines[name].digest), **arms}
        schedule = make_schedule(profile, load_cases(suite, options), list(arms))
        services = any(step.kind == "http" for step in files.app.steps)
        return cls(name, profile, schedule, arms, files.pinned and not services)

    @property
    def digests(self) -> Mapping[Variant, str]:
        return {variant: arm.digest for variant, arm in self.arms.items()}

    def void(self, result: _Result) -> str:
        """Why no request counts, empty if they do."""
        foreign = self.foreign(result)
        return foreign or "; ".join(result.noise.too_much(self.profile))

    def foreign(self, result: _Result) -> str:
        """Why the answers are not those of what is under review, empty if they are."""
        return next((sample.foreign for sample in result.generated.samples.values() if sample.foreign), "")

    def write(self, context: Context, report: StageReport, result: _Result, emit: Callable[[bytes], Any]) -> None:
        """Rows, the summary and the stage's report."""
        samples, void, broken = result.generated.samples, self.void(result), result.generated.broken
        scorer = Scorer(
            self.name, self.digests, self.profile.slo, void, bool(result.when), f"not sent: {broken or void}"
        )
        for row in scorer.rows(self.schedule, samples):
            emit(encode(row))
            report.rows += 1
        figures = summary(self.profile, self.schedule, samples, result.noise, void)
        context.folder.write_json(f"artifacts/{NAME}/{self.name}/summary.json", figures)
        failed = sum(bool(sample.failure) for sample in samples.values())
        report.outputs += len(samples)
        report.errors += failed
        report.model_calls += 0 if result.when else len(samples)
        report.cached_calls += len(samples) if result.when else 0
        report.apps[self.name] = {"outputs": len(samples), "errors": failed, "calls": len(samples)}
        why = broken or self.foreign(result)
        report.broken = report.broken or (f"{self.name}: {why}" if why else "")
        report.found += [_kept_sentence(self.name, result.when)] if result.when else []
        report.found += sentences(self.name, figures)


def _kept_sentence(app: str, when: float) -> str:
    day = datetime.fromtimestamp(when, UTC).isoformat(timespec="minutes")
    return f"{app}: the same app was measured under the same load here at {day}; that result is used"


def _measured(context: Context, subject: _Subject, server: _Server) -> _Result:
    """A kept result, or a new one."""
    kept = KeptRuns(context.options.cache / "load")
    key = key_of(subject.digests, subject.profile, subject.schedule)
    reusable = subject.pinned and not context.options.url
    if reusable and (found := kept.find(key)) is not None:
        folder = context.folder.artifacts(f"{NAME}/{subject.name}")
        _write_samples(folder / "samples.jsonl", found.samples)
        return _Result(Generated(found.samples), found.noise, found.when)
    require_locust()
    result = _generated(context, subject, server)
    if reusable and not result.generated.broken and not subject.void(result):
        kept.keep(key, result.generated.samples, result.noise)
    return result


def _generated(context: Context, subject: _Subject, server: _Server) -> _Result:
    options, folder = context.options, context.folder.artifacts(f"{NAME}/{subject.name}")
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
    except SignoffError as error:
        return _Result(Generated({}, str(error)))
    context.folder.write_json(f"artifacts/{NAME}/{subject.name}/schedule.json", subject.schedule.as_dict())
    watch = MachineWatch(server.pids)
    with _advancing(Progress(f"{subject.name} (load)", subject.schedule.requests, quiet=options.quiet)) as advance:
        generated = Generator(plan, folder, watch.look, advance, server.alive).run()
    counted = [generated.samples[shot.number] for _, shot in subject.schedule.measured()
               if shot.number in generated.samples]  # fmt: skip
    stolen, busy = watch.shares()
    # A server elsewhere keeps no core of this machine busy, but whatever does keeps the generator late.
    noise = Noise(stolen, busy, lag_p95(counted), control_of(subject.schedule, generated.samples))
    return _Result(generated, noise)


@contextlib.contextmanager
def _advancing(progress: Progress) -> Iterator[Callable[[int], None]]:
    def advance(count: int) -> None:
        for _ in range(count):
            progress.advance(failed=False)

    with progress:
        yield advance


def _first_answers(plan: LoadPlan, alive: Callable[[], None]) -> None:
    """Ask each arm once before any clock runs, which loads its model; SignoffError for one that does not answer."""
    import os

    import urllib3

    key = os.environ.get(plan.key_env) if plan.key_env else None
    with urllib3.PoolManager(retries=False, timeout=_FIRST_ANSWER_S) as pool:
        asker = Asker(pool, plan.url, headers_of(key), _FIRST_ANSWER_S)
        for arm in plan.arms.values():
            case = plan.schedule.cases[0]
            sample = asker.ask(0, body_of(case, arm.model, plan.seed), arm, time.monotonic())
            if sample.failure or sample.foreign:
                alive()
                why = sample.foreign or f"{arm.model} does not answer: {sample.reason}"
                raise SignoffError(f"nothing was measured: {why}")


def _write_samples(path: Any, samples: Mapping[int, Sample]) -> None:
    with path.open("wb") as out:
        for sample in samples.values():
            out.write(orjson.dumps(sample.as_dict(), option=orjson.OPT_APPEND_NEWLINE))
