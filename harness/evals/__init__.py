"""From cases, checks and two variants to measurements."""

from harness.evals.progress import Progress
from harness.evals.properties import measure_property, rewrite_cases, rewriting
from harness.evals.runner import Arm, EvalRun, Tally, shown_input
from harness.evals.scoring import BoundCheck, Scorer, bind_checks

__all__ = [
    "Arm",
    "BoundCheck",
    "EvalRun",
    "Progress",
    "Scorer",
    "Tally",
    "bind_checks",
    "measure_property",
    "rewrite_cases",
    "rewriting",
    "shown_input",
]
