"""Whether traffic still looks like the reference, feature by feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.monitor.features import OTHER, Input, letters, values_of
from harness.monitor.reference import Reference
from harness.spec.language import PACKAGE, installed
from harness.spec.monitor import PREFIX, Drift, DriftFeature
from harness.stats.two_samples import Shift, binned_shift, classifier_shift

_MOST_NAMED = 3
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one feature: how far it is from the reference, or ``reason`` why nobody can tell.

    ``n`` inputs of the traffic were compared with ``reference_n``; ``bins`` holds (bin, share then, share now), ``new``
    (name, share now) of what the reference has no bin for.
    """

    feature: DriftFeature
    shift: Shift | None
    n: int = 0
    reference_n: int = 0
    reason: str = ""
    bins: tuple[tuple[str, float, float], ...] = ()
    new: tuple[tuple[str, float], ...] = ()

    @property
    def metric(self) -> str:
        """The metric's name in the measurement table."""
        return f"{PREFIX}drift.{self.feature.id}"

    @property
    def unit(self) -> str:
        """What the distance is."""
        return "AUC" if self.feature.kind == "text" else "PSI"

    def told(self) -> str:
        """The bins that moved most, for people."""
        named = sorted(self.bins, key=lambda each: -abs(each[2] - each[1]))[:_MOST_NAMED]
        told = [f"{_shown(name)} {_percent(then)} -> {_percent(now)}" for name, then, now in named if then != now]
        if any(name == OTHER for name, _, _ in named):
            told += [f"of it {_shown(name)} {_percent(now)}" for name, now in self.new]
        return ", ".join(told)

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "kind": self.feature.kind,
            "n": self.n,
            "reference_n": self.reference_n,
            "same_p": self.shift.same_p if self.shift else None,
            "new": [{"bin": name, "traffic": now} for name, now in self.new],
            "bins": [{"bin": name, "reference": then, "traffic": now} for name, then, now in self.bins],
        }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shown(name: str) -> str:
    # A label may be what a caller wrote: no control character reaches a terminal.
    return "".join(mark if mark.isprintable() else "?" for mark in name[:_LONGEST])


def compared(drift: Drift, reference: Reference, inputs: Sequence[Input]) -> list[Moved]:
    """Every feature of ``drift`` on a sample of traffic (independent inputs) against the reference."""
    return [_moved(drift, feature, reference, inputs) for feature in drift.features]


def _moved(drift: Drift, feature: DriftFeature, reference: Reference, inputs: Sequence[Input]) -> Moved:
    if feature.kind == "text":
        return _text(drift, feature, reference, inputs)
    if feature.kind == "language" and not installed():
        return Moved(feature, None, reason=f"{PACKAGE} is not installed: pip install 'signoff[serve]'")
    fixed = reference.histograms.get(feature.id)
    if fixed is None:
        return Moved(feature, None, reason="the reference does not have this feature; set it anew")
    if feature.kind != "length" and not fixed.names:
        return Moved(feature, None, reason="the reference has another kind of feature of this name; set it anew")
    values = values_of(feature, inputs)
    n, m = len(values), sum(fixed.counts)
    if n < drift.minimum or m < drift.minimum:
        return Moved(feature, None, n, m, _too_few(feature, drift, n, m))
    now = fixed.of(values)
    bins = tuple((name, then / m, seen / n) for name, then, seen in zip(fixed.labels(), fixed.counts, now, strict=True))
    strange = Counter(str(value)[:_LONGEST] for value in values if fixed.names and value not in fixed.names)
    new = tuple((name, count / n) for name, count in strange.most_common(_MOST_NAMED))
    return Moved(feature, binned_shift(fixed.counts, now), n, m, bins=bins, new=new)


def _text(drift: Drift, feature: DriftFeature, reference: Reference, inputs: Sequence[Input]) -> Moved:
    texts = [each.text for each in inputs]
    n, m = len(texts), len(reference.sample)
    if n < drift.minimum or m < drift.minimum:
        return Moved(feature, None, n, m, _too_few(feature, drift, n, m))
    flags = np.arange(m + n) >= m
    return Moved(feature, classifier_shift(letters([*reference.sample, *texts]), flags), n, m)


def _too_few(feature: DriftFeature, drift: Drift, n: int, m: int) -> str:
    what = f"inputs with a label of step {feature.step}" if feature.kind == "step" else "inputs of different users"
    return f"{n} {what}, {m} in the reference: {drift.minimum} of each are needed"
