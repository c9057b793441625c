"""deepeval's metrics as checks of a suite, asked of models of this repository."""

from harness.evals.deepeval_checks.check import DeepevalCheck
from harness.evals.deepeval_checks.model import UnreadableError, judging_model
from harness.evals.deepeval_checks.package import AbsentError, load, metric_class, quieten

__all__ = ["AbsentError", "DeepevalCheck", "UnreadableError", "judging_model", "load", "metric_class", "quieten"]
