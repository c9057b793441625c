"""Which model, adapter or prompt should answer a step: candidates measured side by side on the suite."""

from harness.run.model_choice.choice import DATA, LATENCY_CASES, PAGE, Choice, Wanted, compare_models
from harness.run.model_choice.training import Training

__all__ = ["DATA", "LATENCY_CASES", "PAGE", "Choice", "Training", "Wanted", "compare_models"]
