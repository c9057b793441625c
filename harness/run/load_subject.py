"""One app under load within a run: its schedule and arms, the server that is asked, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.load import Arm, Generated, Noise, Schedule, Scorer, make_schedule, sentences, summary
from harness.run.stages.asking import load_cases
from harness.run.stages.record import Context, StageReport
from harness.serve import LocalServer
from harness.spec.load import LoadProfile
from harness.spec.measurement import Variant, encode
from harness.spec.repository import SuiteFiles

STAGE = "load"


@dataclass
class LoadServer:
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
            log = self.context.folder.artifacts(STAGE) / "gateway.log"
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

    def __enter__(self) -> LoadServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._local is not None:
            self._local.stop()


@dataclass(frozen=True)
class LoadResult:
    """Samples of one app with their noise; ``broken``: why they are not whole, ``when``: of a kept result."""

    generated: Generated
    noise: Noise = field(default_factory=Noise)
    when: float = 0.0

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.generated.broken == "interrupted"


@dataclass(frozen=True)
class LoadSubject:
    """One app with its load and its arms."""

    name: str
    profile: LoadProfile
    schedule: Schedule
    arms: Mapping[Variant, Arm]
    pinned: bool

    @classmethod
    def of(cls, context: Context, name: str, suite: SuiteFiles, profile: LoadProfile) -> LoadSubject:
        """The app as this run sees it: the baseline only where it differs; UsageError when no case fits."""
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
        """What must answer, by arm."""
        return {variant: arm.digest for variant, arm in self.arms.items()}

    def void(self, result: LoadResult) -> str:
        """Why no request counts, empty if they do."""
        foreign = self.foreign(result)
        return foreign or "; ".join(result.noise.too_much(self.profile))

    def foreign(self, result: LoadResult) -> str:
        """Why the answers are not those of what is under review, empty if they are."""
        return next((sample.foreign for sample in result.generated.samples.values() if sample.foreign), "")

    def write(self, context: Context, report: StageReport, result: LoadResult, emit: Callable[[bytes], Any]) -> None:
        """Rows, the summary and the stage's report."""
        samples, void, broken = result.generated.samples, self.void(result), result.generated.broken
        scorer = Scorer(
            self.name, self.digests, self.profile.slo, void, bool(result.when), f"not sent: {broken or void}"
        )
        for row in scorer.rows(self.schedule, samples):
            emit(encode(row))
            report.rows += 1
        figures = summary(self.profile, self.schedule, samples, result.noise, void)
        context.folder.write_json(f"artifacts/{STAGE}/{self.name}/summary.json", figures)
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
