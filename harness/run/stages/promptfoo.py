"""The stage promptfoo: the real program asks the served app, and its verdicts stand beside those of our checks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import SignoffError
from harness.evals import bind_checks
from harness.evals.checks import Subject
from harness.evals.promptfoo.config import assertions_of, chosen_cases, config_of, misread, question, test_of
from harness.evals.promptfoo.program import PROMPTFOO, Order, Program, evaluate, find_program
from harness.evals.promptfoo.results import Outcome, Said, read_outcomes
from harness.evals.scoring import BoundCheck
from harness.run.stages.asking import load_cases
from harness.run.stages.record import Context, StageReport
from harness.serve import LocalServer
from harness.spec.apps import HttpStep
from harness.spec.measurement import Measurement, Variant, dump_line, encode
from harness.spec.promptfoo import PASSED, PromptfooProfile
from harness.spec.repository import AppFiles, SuiteFiles
from harness.spec.suites import Case
from harness.store import JsonLines, digest_bytes, digest_of

NAME = "promptfoo"
_SHOWN = 3


def measure(context: Context) -> StageReport:
    """Run the stage. What was measured before something broke is kept."""
    started, report = time.monotonic(), StageReport(NAME)
    profile = context.options.profile
    due = [(name, suite) for name, suite in context.suites() if suite.promptfoo and profile in suite.promptfoo.profiles]
    for name in set(context.apps) - {name for name, _ in due}:
        report.apps[name] = {"seconds": 0.0, "outputs": 0, "errors": 0, "calls": 0}
    if not due:
        report.skipped = f"no promptfoo.yaml asks for it in the profile {profile}"
        return report
    program = find_program(context.options.cache)
    with (
        context.folder.jsonl(f"measurements/{NAME}.jsonl") as rows,
        context.folder.jsonl(f"artifacts/{NAME}/outputs.jsonl") as outputs,
        _server(context) as server,
    ):
        try:
            for name, suite in due:
                _App.of(context, name, suite).measure(program, server.url, report, _Sinks(rows, outputs))
                server.check()
        except SignoffError as error:
            report.broken = str(error)
    report.seconds = time.monotonic() - started
    return report


def _server(context: Context) -> LocalServer:
    options, plan = context.options, context.plan
    args = {
        "root": str(options.root),
        "cache": str(options.cache),
        "apps": list(context.apps),
        "baseline": str(plan.baseline_root) if plan.baseline_root else None,
    }
    log = context.folder.artifacts(NAME) / "gateway.log"
    return LocalServer("harness.serve.service:build_gateway", args=args, log=log)


@dataclass(frozen=True, slots=True)
class _Sinks:
    rows: JsonLines
    outputs: JsonLines


@dataclass
class _Agreement:
    """How often promptfoo and our own check say the same of the same output."""

    same: int = 0
    apart: list[dict[str, Any]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many judgements were compared."""
        return self.same + len(self.apart)


@dataclass(frozen=True)
class _App:
    context: Context
    name: str
    suite: SuiteFiles
    profile: PromptfooProfile
    cases: Mapping[str, Case]
    bound: Mapping[str, BoundCheck]
    arms: Mapping[Variant, AppFiles]
    left_out: int

    @classmethod
    def of(cls, context: Context, name: str, suite: SuiteFiles) -> _App:
        assert suite.promptfoo is not None
        app = context.plan.repository.apps[name]
        chosen = chosen_cases(load_cases(suite, context.options), suite.promptfoo, suite.suite.seed)
        kept = [case for case in chosen if not misread(question(case, app.app)[1])]
        bound = bind_checks(suite.suite, context.options.root / "suites" / name, name)
        return cls(
            context,
            name,
            suite,
            suite.promptfoo,
            {case.id: case for case in kept},
            {each.spec.id: each for each in bound},
            _arms(context, name, app),
            len(chosen) - len(kept),
        )

    def measure(self, program: Program, url: str, report: StageReport, sinks: _Sinks) -> None:
        """Let promptfoo ask and judge, and write its results as rows."""
        begun = time.monotonic()
        asked = {case.id: assertions_of(case, self.suite.suite, self.profile) for case in self.cases.values()}
        app = self.context.plan.repository.apps[self.name].app
        expect = bool(self.profile.assertions)
        tests = [test_of(case, app, asked[case.id], expect=expect) for case in self.cases.values()]
        served = {arm: self.name + ("@baseline" if arm == "baseline" else "") for arm in self.arms}
        order = Order(
            config_of(url, served, tests), self.profile.concurrency, self.profile.timeout_s, self.profile.environment
        )
        folder = self.context.folder.artifacts(f"{NAME}/{self.name}")
        outcomes = read_outcomes(evaluate(program, order, folder)) if tests else {}
        agreement, errors = _Agreement(), 0
        for case in self.cases.values():
            for arm in self.arms:
                outcome = outcomes.get((case.id, arm)) or _missing(case.id, arm)
                self._same_digest(outcome, arm)
                rows = list(self._rows(case, arm, outcome, asked[case.id]))
                for row in rows:
                    sinks.rows.write(encode(row))
                sinks.outputs.write(dump_line(self._output(case, arm, outcome), default=str))
                report.rows += len(rows)
                errors += outcome.status == "error"
                self._compare(case, outcome, agreement)
        sinks.rows.flush()
        count = len(self.cases) * len(self.arms)
        report.outputs += count
        report.errors += errors
        report.model_calls += count
        report.apps[self.name] = {
            "seconds": round(time.monotonic() - begun, 3), "outputs": count, "errors": errors, "calls": count,
        }  # fmt: skip
        report.found += self._found(outcomes, agreement, errors)
        if agreement.apart:
            with (folder / "apart.jsonl").open("wb") as stream:
                stream.writelines(dump_line(row, default=str) for row in agreement.apart)

    def _same_digest(self, outcome: Outcome, arm: Variant) -> None:
        wanted = self.arms[arm].digest
        if outcome.status == "ok" and outcome.digest != wanted:
            raise SignoffError(
                f"the gateway answered promptfoo for {self.name} {arm} with digest {outcome.digest[:12]!r}, "
                f"under review is {wanted[:12]!r}"
            )

    def _rows(self, case: Case, arm: Variant, outcome: Outcome, asked: Mapping[str, Any]) -> Iterator[Measurement]:
        for name in (None, *asked):
            said = outcome.passed if name is None else outcome.said.get(name)
            metric = PASSED if name is None else f"promptfoo.{name}"
            said = said or Said(None, outcome.reason or "promptfoo reported nothing about it")
            status = "error" if outcome.status == "error" else "unscored" if said.value is None else "scored"
            yield Measurement(
                stage=NAME,
                app=self.name,
                variant=arm,
                case=case.id,
                check=metric,
                metric=metric,
                value=said.value if status == "scored" else None,
                status=status,  # type: ignore[arg-type]
                slices=case.slices,
                group=case.cluster,
                seed=self.arms[arm].app.seed,
                reason="" if said.value == 1 else said.reason,
                app_digest=self.arms[arm].digest,
                output_digest=digest_bytes(outcome.output.encode()) if outcome.status == "ok" else "",
                check_digest=digest_of(
                    {"promptfoo": PROMPTFOO, "asked": list(asked.values()) if name is None else asked[name]}
                ),
            )

    def _output(self, case: Case, arm: Variant, outcome: Outcome) -> dict[str, Any]:
        return {
            "app": self.name,
            "variant": arm,
            "case": case.id,
            "output": outcome.output,
            "status": outcome.status,
            "reason": outcome.reason,
            "latency_ms": outcome.latency_ms,
            "app_digest": self.arms[arm].digest,
            "passed": outcome.passed.value,
        }

    def _compare(self, case: Case, outcome: Outcome, agreement: _Agreement) -> None:
        for name, said in outcome.said.items():
            bound = self.bound.get(name)
            if bound is None or said.value is None:
                continue
            expect = case.expect.get(bound.spec.expect) if bound.spec.expect else None
            (score, *_) = bound.check.run(Subject(outcome.output, None, expect, dict(case.inputs)))
            if score.value is None or score.value == said.value:
                agreement.same += score.value is not None
                continue
            agreement.apart.append(
                {
                    "case": case.id, "variant": outcome.arm, "check": name, "promptfoo": said.value,
                    "signoff": score.value, "promptfoo_says": said.reason, "signoff_says": score.reason,
                    "output": outcome.output,
                }
            )  # fmt: skip

    def _found(self, outcomes: Mapping[tuple[str, str], Outcome], agreement: _Agreement, errors: int) -> Sequence[str]:
        found = []
        for arm in self.arms:
            values = [each.passed.value for (_, label), each in outcomes.items() if label == arm]
            scored = [value for value in values if value is not None]
            found.append(f"{self.name} {arm}: promptfoo passes {sum(scored):g} of {len(scored)} cases")
        if agreement.total:
            words = f"{self.name}: promptfoo and our checks agree on {agreement.same} of {agreement.total} judgements"
            names = [f"{row['check']} on {row['case']}" for row in agreement.apart[:_SHOWN]]
            found.append(words + (f", not on {', '.join(names)}" if names else ""))
        if errors:
            found.append(f"{self.name}: {errors} answers failed under promptfoo")
        if self.left_out:
            found.append(
                f"{self.name}: {self.left_out} cases left out, whose inputs promptfoo reads as templates or files"
            )
        return found


def _arms(context: Context, name: str, app: AppFiles) -> Mapping[Variant, AppFiles]:
    """The arms that the gateway serves: a baseline that is only another URL of a service is none of them."""
    arms: dict[Variant, AppFiles] = {}
    elsewhere = any(isinstance(step, HttpStep) and step.baseline_url for step in app.app.steps)
    if "baseline" in context.options.variants and context.plan.changed(name) and not elsewhere:
        arms["baseline"] = context.plan.baselines[name]
    if "candidate" in context.options.variants:
        arms["candidate"] = app
    return arms


def _missing(case: str, arm: str) -> Outcome:
    reason = "promptfoo gave no result for the case"
    return Outcome(case, arm, "", "error", reason, Said(None, reason))
