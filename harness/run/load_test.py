"""``signoff load``: the load stage alone, perhaps at another rate or against a server that runs already."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import UsageError
from harness.run.options import Options
from harness.run.parts import finish_part
from harness.run.pipeline import GateRun, measure_stages, plan_run
from harness.run.plan import Plan
from harness.store import digest_of


def load_test(options: Options, rate: float | None = None) -> GateRun:
    """Measure and decide nothing; UsageError when an app that is named has no load profile.

    Another rate or a server of somebody else's is another yardstick: ``gate --from`` takes no such run.
    """
    run = GateRun(options)
    plan_run(run)
    plan, _ = run.ready
    without = [name for name in options.apps if plan.repository.suites[name].load is None]
    if without or not any(suite.load for suite in plan.repository.suites.values()):
        name = (without or sorted(plan.repository.suites))[0]
        raise UsageError(f"app {name!r} has no suites/{name}/load.yaml; docs/load.md says what stands in one")
    if rate is not None or options.url:
        run.plan = _otherwise(plan, rate, options.url)
    measure_stages(run)
    finish_part(options, *run.ready, run.stages, run.started)
    return run


def _otherwise(plan: Plan, rate: float | None, url: str) -> Plan:
    suites = {}
    for name, suite in plan.repository.suites.items():
        profile = suite.load.model_copy(update={"rate": rate} if rate is not None else {}) if suite.load else None
        digest = digest_of([suite.digest, rate, url])
        suites[name] = replace(suite, load=profile, digest=digest)
    return replace(plan, repository=replace(plan.repository, suites=suites))
