"""Load tests: a fixed schedule of requests to both arms, and what each request took.

Nothing here imports locust: it runs in a process of its own (``harness.load.user`` and ``harness.load.locustfile``).
"""

from harness.load.ask import Arm, Asker, body_of, headers_of
from harness.load.cases import cases_of
from harness.load.generator import Generated, Generator, require_locust
from harness.load.kept import KeptRun, KeptRuns, key_of
from harness.load.noise import Control, MachineWatch, Noise
from harness.load.plan import LoadPlan
from harness.load.rows import Scorer, within_slo
from harness.load.sample import Sample
from harness.load.schedule import WARMUP, Block, Schedule, Shot, make_schedule
from harness.load.summary import control_of, lag_p95, sentences, summary

__all__ = [
    "WARMUP",
    "Arm",
    "Asker",
    "Block",
    "Control",
    "Generated",
    "Generator",
    "KeptRun",
    "KeptRuns",
    "LoadPlan",
    "MachineWatch",
    "Noise",
    "Sample",
    "Schedule",
    "Scorer",
    "Shot",
    "body_of",
    "cases_of",
    "control_of",
    "headers_of",
    "key_of",
    "lag_p95",
    "make_schedule",
    "require_locust",
    "sentences",
    "summary",
    "within_slo",
]
