"""Monitoring: traces of a running app in; indicators, drift and experiments out."""

from harness.monitor.drift import Moved, compared
from harness.monitor.experiment import Experiment, Outcome, gather
from harness.monitor.features import Histogram, Input, longest, make_input, shown_text
from harness.monitor.indicators import STAGE, measured, said, step_value
from harness.monitor.reference import Reference, make_reference, read_reference, reference_path, write_reference
from harness.monitor.sampling import sampled
from harness.monitor.traffic import Notes, TraceWindow, require_log

__all__ = [
    "STAGE",
    "Experiment",
    "Histogram",
    "Input",
    "Moved",
    "Notes",
    "Outcome",
    "Reference",
    "TraceWindow",
    "compared",
    "gather",
    "longest",
    "make_input",
    "make_reference",
    "measured",
    "read_reference",
    "reference_path",
    "require_log",
    "said",
    "sampled",
    "shown_text",
    "step_value",
    "write_reference",
]
