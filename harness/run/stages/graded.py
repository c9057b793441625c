"""One graded answer: from an arm's answer over the cache of scores to rows and the record of what was said."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from harness.evals import Arm
from harness.evals.checks.subject import Score, printable
from harness.evals.judges import AbsentCheck, Asker, Exhibit, Grade, GradedCheck, JudgeError, Withheld, exhibit
from harness.serve.steps.chain import Call, ChainResult
from harness.spec.measurement import Measurement, Status, Variant
from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case
from harness.store import ScoreCache, digest_of
from harness.store.caches import score_key

_STAGE = "evals"


class Answers:
    """What each arm answers to each case, asked once however many checks look at it."""

    def __init__(self, arms: Sequence[Arm], deadline_s: float) -> None:
        self.arms = arms
        self._deadline_s = deadline_s
        self._known: dict[tuple[str, str], asyncio.Future[ChainResult]] = {}

    async def of(self, arm: Arm, case: Case) -> ChainResult:
        """The answer; one that takes longer than the suite allows is an error of its case."""
        key = (arm.variant, case.id)
        if key not in self._known:
            self._known[key] = asyncio.ensure_future(self._asked(arm, case))
        return await asyncio.shield(self._known[key])

    async def _asked(self, arm: Arm, case: Case) -> ChainResult:
        messages = [{"role": turn.role, "content": turn.content} for turn in case.messages]
        try:
            async with asyncio.timeout(self._deadline_s):
                return await arm.chain.run(Call(case.inputs, messages, case.id, 0))
        except TimeoutError:
            reason = f"no answer within the suite's deadline of {self._deadline_s:g} s"
            return ChainResult(None, "", "error", reason, {})


@dataclass(frozen=True)
class Row:
    """What became of one check on one answer.

    ``asked`` says that a judging model was asked for it now; ``transport`` that the model or the app could not be
    reached.
    """

    measurements: tuple[Measurement, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False
    transport: bool = False

    @property
    def status(self) -> Status:
        """That of the check's own metric."""
        return self.measurements[0].status

    @property
    def reason(self) -> str:
        """Why there is no value, if there is none."""
        return self.measurements[0].reason

    def judgement(self) -> dict[str, Any]:
        """The record for people who doubt a score: prompt, reply and probabilities."""
        head = self.measurements[0]
        named = ("app", "variant", "case", "check", "status", "reason", "cached", "output_digest", "judge_digest")
        scores = {each.metric: each.value for each in self.measurements}
        return {**{name: getattr(head, name) for name in named}, "scores": scores, **self.evidence}

    @classmethod
    def failed(cls, check: GradedCheck, case: Case, arm: Arm, reason: str) -> Row:
        """A row with the status ``error``."""
        return cls((_measurement(check, case, arm, Score(None, reason), status="error"),))


@dataclass
class Grading:
    """Grades answers, those whose score is kept without asking; ``kept`` counts these."""

    scores: ScoreCache
    asker: Asker
    kept: int = 0

    async def row(self, check: GradedCheck, case: Case, arm: Arm, answers: Answers) -> Row:
        """The row of ``check`` on ``arm``'s answer; for a pairwise check, against that of the first arm."""
        if isinstance(check, AbsentCheck):
            return Row((_measurement(check, case, arm, Score(None, check.reason)),))
        shown, reached = await self._exhibit(check, case, arm, answers)
        if isinstance(shown, Withheld):
            score = Score(None, shown.reason)
            return Row(
                (_measurement(check, case, arm, score, status=shown.status),), asked=not reached, transport=not reached
            )
        other: Exhibit | None = None
        if check.pairwise:
            against, _ = await self._exhibit(check, case, answers.arms[0], answers)
            if isinstance(against, Withheld):
                score = Score(None, f"baseline: {against.reason}")
                return Row((_measurement(check, case, arm, score, status=against.status),))
            other = against
        return await self._scored(check, case, arm, shown, other)

    async def _exhibit(
        self, check: GradedCheck, case: Case, arm: Arm, answers: Answers
    ) -> tuple[Exhibit | Withheld, bool]:
        result = await answers.of(arm, case)
        return exhibit(check.spec, check.settings, case, arm.files, result), not result.unreachable

    async def _scored(self, check: GradedCheck, case: Case, arm: Arm, shown: Exhibit, other: Exhibit | None) -> Row:
        key = _key(check, shown, other)
        grade, cached = self._looked_up(key), True
        if grade is None:
            cached = False
            try:
                grade = await check.grade(shown, other, self.asker)
            except JudgeError as error:
                score = Score(None, printable(str(error)))
                failed = _measurement(check, case, arm, score, status="error", output_digest=shown.output_digest)
                return Row((failed,), asked=True, transport=error.transport)
            self._keep(key, grade)
        self.kept += cached
        made = tuple(
            _measurement(check, case, arm, score, cached=cached, output_digest=shown.output_digest)
            for score in grade.scores
        )
        return Row(made, grade.evidence, asked=not cached)

    def _looked_up(self, key: str) -> Grade | None:
        kept = self.scores.get_many([key]).get(key)
        if kept is None:
            return None
        data = orjson.loads(kept)
        return Grade(tuple(Score(**each) for each in data["scores"]), data["evidence"])

    def _keep(self, key: str, grade: Grade) -> None:
        value = {"scores": [asdict(score) for score in grade.scores], "evidence": dict(grade.evidence)}
        self.scores.put_many({key: orjson.dumps(value, default=str)})


def _key(check: GradedCheck, shown: Exhibit, other: Exhibit | None) -> str:
    beside = {
        "input": shown.input,
        "expected": shown.expected,
        "context": shown.context,
        "passages": list(shown.passages),
        "other": other.output if other else "",
    }
    # Outputs may hold half a character, which a digest refuses; the output's own digest can hold it.
    told = digest_of({name: repr(value) for name, value in beside.items()})
    return score_key(
        check=check.digest,
        code_version=str(check.revision),
        output=shown.output_digest,
        expect=told,
        judge=check.judge_digest,
    )


def _measurement(
    check: GradedCheck,
    case: Case,
    arm: Arm,
    score: Score,
    *,
    status: Status = "unscored",
    cached: bool = False,
    output_digest: str = "",
) -> Measurement:
    return Measurement(
        stage=_STAGE,
        app=arm.files.name,
        variant=arm.variant,
        case=case.id,
        check=check.spec.id,
        metric=f"{check.spec.id}.{score.metric}" if score.metric else check.spec.id,
        value=score.value,
        status="scored" if score.value is not None else status,
        unit=score.unit or "score",
        step=check.spec.step,
        slices=case.slices,
        group=case.cluster,
        seed=arm.files.app.seed,
        reason=score.reason,
        cached=cached,
        app_digest=arm.files.digest,
        output_digest=output_digest,
        check_digest=check.digest,
        judge_digest=check.judge_digest,
    )


@dataclass
class Findings:
    """Values by app, metric and arm, for the sentences that people read."""

    values: dict[tuple[str, str, Variant], list[float]] = field(default_factory=lambda: defaultdict(list))
    silent: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Measurement) -> None:
        """Take note of one row."""
        if row.value is None:
            self.silent[row.app, row.metric] += 1
        else:
            self.values[row.app, row.metric, row.variant].append(row.value)


def told(prepared: Sequence[tuple[str, SuiteFiles, Any, Sequence[GradedCheck]]], findings: Findings) -> list[str]:
    """One sentence for each check: what was said, of how many, and whether anybody may rely on it."""
    lines = []
    for name, suite, _, checks in prepared:
        for check in checks:
            metric = check.spec.id
            new = findings.values.get((name, metric, "candidate"), [])
            old = findings.values.get((name, metric, "baseline"), [])
            text = f"{name}/{metric}: {_mean(new):.2f} on {len(new)} answers" if new else f"{name}/{metric}: no score"
            text += f", baseline {_mean(old):.2f}" if old else ""
            flips = findings.values.get((name, f"{metric}.flipped", "candidate"), [])
            text += f", {_mean(flips):.0%} changed their preference with the order" if flips else ""
            silent = findings.silent.get((name, metric), 0)
            text += f", {silent} without a score" if silent else ""
            text += f": {check.reason}" if isinstance(check, AbsentCheck) else ""
            judge = suite.judges.get(check.spec.check.removeprefix("judge/"))
            doubt = "no labels of people vouch for it" if judge is None else judge.distrust
            lines.append(text + (f" (advisory: {doubt})" if doubt else ""))
    return lines


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
