"""Judges: models that grade what an app answered, and how far they agree with people."""

from harness.evals.judges.asker import Asker, JudgeError
from harness.evals.judges.checks import AbsentCheck, GradedCheck, JudgeCheck
from harness.evals.judges.exhibits import Exhibit, Withheld, exhibit, sampled
from harness.evals.judges.fences import fenced, neutralised
from harness.evals.judges.judging import Grade, grade
from harness.evals.judges.verdicts import Reading, last_verdict, read

__all__ = [
    "AbsentCheck",
    "Asker",
    "Exhibit",
    "Grade",
    "GradedCheck",
    "JudgeCheck",
    "JudgeError",
    "Reading",
    "Withheld",
    "exhibit",
    "fenced",
    "grade",
    "last_verdict",
    "neutralised",
    "read",
    "sampled",
]
