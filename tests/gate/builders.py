"""Measurements for tests, from arrays of per-case outcomes."""

from harness.gate import AppArms
from harness.spec.gates import Gate
from harness.spec.measurement import Measurement

CHANGED = {"support": AppArms("c" * 64, "b" * 64)}
SAME = {"support": AppArms("c" * 64, "c" * 64)}
NEW = {"support": AppArms("c" * 64)}


def gate(**fields):
    """A gate on the metric ``correct``: no worse by five points unless told otherwise."""
    defaults = {"id": "keep", "metric": "correct", "rule": "no_worse_than_baseline_by", "threshold": 0.05}
    return Gate(**(defaults | fields))


def rows(candidate, baseline=None, *, metric="correct", slices=(), groups=None, app="support"):
    """One row per case and repeat: ``candidate`` and ``baseline`` hold a value or a list of repeats per case.

    None is an error, "?" is unscored.
    """
    arms = {"candidate": candidate} | ({} if baseline is None else {"baseline": baseline})
    for variant, cases in arms.items():
        for index, values in enumerate(cases):
            for repeat, value in enumerate(values if isinstance(values, list) else [values]):
                status = "error" if value is None else "unscored" if value == "?" else "scored"
                yield Measurement(
                    stage="regression",
                    app=app,
                    variant=variant,
                    case=f"c{index}",
                    check=metric,
                    metric=metric,
                    value=float(value) if status == "scored" else None,
                    status=status,
                    reason="" if status == "scored" else "timeout",
                    repeat=repeat,
                    group="" if groups is None else groups[index],
                    slices=slices,
                )
