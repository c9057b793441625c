"""Checks that a model grades, as the stage sees them: one shape for judges and for metrics of other packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.evals.checks.subject import Score
from harness.evals.judges.asker import Asker
from harness.evals.judges.exhibits import Exhibit
from harness.evals.judges.judging import JUDGING_REVISION, Grade, grade
from harness.spec.graded import GradedSettings, judge_settings
from harness.spec.judges import JudgeFiles
from harness.spec.repository import SuiteFiles
from harness.spec.suites import CheckSpec
from harness.store import digest_of


class GradedCheck(Protocol):
    """A check that asks a model.

    ``digest`` covers the check's own configuration, ``judge_digest`` who is asked and how, ``revision`` our code's
    part. ``pairwise`` checks are given both arms' outputs.
    """

    @property
    def spec(self) -> CheckSpec:
        """The check as the suite declares it."""
        ...

    @property
    def settings(self) -> GradedSettings:
        """Which cases, and what is shown."""
        ...

    @property
    def digest(self) -> str:
        """The check's digest."""
        ...

    @property
    def judge_digest(self) -> str:
        """The judge's digest."""
        ...

    @property
    def revision(self) -> int:
        """Raised whenever the same answers would score otherwise."""
        ...

    @property
    def pairwise(self) -> bool:
        """Whether it compares the candidate's output with the baseline's."""
        ...

    async def grade(self, shown: Exhibit, other: Exhibit | None, asker: Asker) -> Grade:
        """The grade; JudgeError when the model gave no answer."""
        ...


@dataclass(frozen=True, slots=True)
class AbsentCheck:
    """A check whose package is not installed: its rows are unscored with ``reason``, and nobody is asked."""

    spec: CheckSpec
    settings: GradedSettings
    reason: str
    revision: int = 0
    digest: str = ""
    judge_digest: str = ""
    pairwise: bool = False

    async def grade(self, shown: Exhibit, other: Exhibit | None, asker: Asker) -> Grade:
        """No score."""
        return Grade((Score(None, self.reason),))


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A check ``judge/<name>``."""

    spec: CheckSpec
    settings: GradedSettings
    files: JudgeFiles
    revision: int = JUDGING_REVISION

    @classmethod
    def of(cls, spec: CheckSpec, suite: SuiteFiles) -> JudgeCheck:
        """The check with the judge that it names; both were validated when the files were read."""
        return cls(spec, judge_settings(spec), suite.judges[spec.check.removeprefix("judge/")])

    @property
    def digest(self) -> str:
        """What is shown of which output; how many cases are graded changes no score."""
        shown = {"step": self.spec.step, "expect": self.spec.expect, "context": self.settings.context}
        return digest_of({"check": self.spec.check, **shown})

    @property
    def judge_digest(self) -> str:
        """The judge's digest."""
        return self.files.digest

    @property
    def pairwise(self) -> bool:
        """Whether it compares the candidate's output with the baseline's."""
        return self.files.judge.kind == "pairwise"

    async def grade(self, shown: Exhibit, other: Exhibit | None, asker: Asker) -> Grade:
        """The judge's grade; JudgeError when it gave no answer."""
        return await grade(self.files, shown, other, asker)
