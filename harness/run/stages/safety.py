"""The safety stage: both arms of every app attacked by the probes of its suite, with exact goals."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.evals import EvalRun, Progress, Tally
from harness.run.gateway import Gateway
from harness.run.stages.asking import Asking, asking, gateway_of, interruptible
from harness.run.stages.record import Context, StageReport
from harness.safety import Attempt, ProbeScorer, attempts_of, findings_file
from harness.safety.findings import Finding, of_rows
from harness.safety.wording import told
from harness.serve.steps.llm_step import samples
from harness.spec.measurement import Measurement
from harness.spec.probe_sets import ProbeSet
from harness.spec.probes import Probes
from harness.spec.repository import AppFiles
from harness.store import fetch

NAME = "safety"
_Sets = Sequence[tuple[ProbeSet, tuple[Attempt, ...]]]
_Prepared = tuple[str, Probes, _Sets]


def prepare(context: Context) -> Sequence[_Prepared]:
    """The attempts of every app; UsageError for a set that cannot be filled or a source with other bytes."""
    options = context.options

    def got(source: str, sha256: str) -> Any:
        return fetch(source, sha256, cache=options.cache, root=options.root)

    prepared: list[_Prepared] = []
    for name, suite in context.suites():
        probes, app = suite.probes, context.plan.repository.apps[name].app
        assert probes is not None
        prepared.append((name, probes, [(probe, attempts_of(probes, probe, app, got)) for probe in probes.probes]))
    return prepared


def measure(context: Context) -> StageReport:
    """Run the stage. Interrupting it once keeps what is done and marks the stage broken."""
    folder, prepared = context.folder, prepare(context)
    started, report = time.monotonic(), StageReport(NAME)
    gateway = gateway_of(context, NAME)
    with gateway, contextlib.ExitStack() as stack:
        rows = stack.enter_context(folder.jsonl(f"measurements/{NAME}.jsonl"))
        outputs = stack.enter_context(folder.jsonl(f"artifacts/{NAME}/outputs.jsonl"))
        stage = _Stage(context, gateway, report, rows.write, outputs.write, rows.flush)
        asyncio.run(stage.run(prepared))
    folder.write_json(f"artifacts/{NAME}/findings.json", findings_file("attempts", stage.findings))
    report.seconds = time.monotonic() - started
    return report


@dataclass
class _Stage:
    context: Context
    gateway: Gateway
    report: StageReport
    rows: Callable[[bytes], Any]
    outputs: Callable[[bytes], Any]
    flush: Callable[[], Any]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    findings: list[Finding] = field(default_factory=list)

    async def run(self, prepared: Sequence[_Prepared]) -> None:
        limit = max((probes.concurrency for _, probes, _ in prepared), default=16)
        async with asking(self.context, self.gateway, limit) as ask:
            with interruptible(self.stop):
                for name, probes, sets in prepared:
                    await self._app(name, probes, sets, ask)
                    ask.caller.flush()
            ask.book(self.report)

    async def _app(self, name: str, probes: Probes, sets: _Sets, ask: Asking) -> None:
        started, before, arms = time.monotonic(), ask.calls, ask.arms(name)
        files: Mapping[str, AppFiles] = {arm.variant: arm.files for arm in arms}
        # All goals first: a set that cannot be checked is said before anything is asked.
        scorers = [(ProbeScorer.of(probe, attempts, files), attempts) for probe, attempts in sets]
        repeats = range(self.context.plan.repository.suites[name].suite.repeats if _drawn(files) else 1)
        total = sum(len(attempts) for _, attempts in sets) * len(arms) * len(repeats)
        tally = Tally()
        with Progress(f"{name} probes", total, quiet=self.context.options.quiet) as progress:
            for scorer, attempts in scorers:
                run = EvalRun(
                    arms, scorer, self.rows, self.outputs, probes.concurrency, probes.deadline_s,
                    self.stop, self.gateway.alive, tally,
                )  # fmt: skip
                await run.run([attempt.case for attempt in attempts], repeats, _Within(progress))
                self.flush()
        self.report.count(name, tally, time.monotonic() - started, ask.calls - before)
        for scorer, _ in scorers:
            self._tell(name, scorer.rows)

    def _tell(self, name: str, rows: Sequence[Measurement]) -> None:
        # What succeeded comes first: the first screen of a report has room for little.
        place = 0 if any(row.value for row in rows) else len(self.report.found)
        self.report.found.insert(place, told(rows))
        self.findings += of_rows(rows, f"suites/{name}/probes.yaml")
        made = Counter(row.variant for row in rows if row.status != "error")
        for variant in dict.fromkeys(row.variant for row in rows):
            if not made[variant]:
                # No attempt that reached the app is no proof of anything: never green, whatever the gates say.
                why = f"{name}: no attempt of {rows[0].metric} reached the {variant}: {rows[0].reason}"
                self.report.broken = self.report.broken or why


class _Within(Progress):
    """The progress of one set, counted on that of its app."""

    def __init__(self, whole: Progress) -> None:
        super().__init__(whole.label, whole.total, quiet=True)
        self._whole = whole

    def advance(self, *, failed: bool) -> None:
        """One more output is there."""
        self._whole.advance(failed=failed)


def _drawn(files: Mapping[str, AppFiles]) -> bool:
    return any(samples(each) for each in files.values())
