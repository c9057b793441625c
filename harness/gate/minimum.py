"""The fewest cases with which a gate could ever pass: closed forms, without scipy, for ``signoff check``."""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

from harness.spec.gates import Gate

NEVER = sys.maxsize
"""No number of cases is enough: even a perfect result does not clear the bound."""


def minimum_cases(gate: Gate) -> int:
    """The smallest number of cases with which ``gate`` could pass given a perfect result, at least 2; or NEVER.

    Perfect means: an absolute gate sees the best value of the range in every case; a paired one with a margin sees no
    change in any case, without a margin (or with a gain to prove) the full range of improvement in every case.
    Each case is taken as its own cluster, and nothing as unscored. A total is exact with any number of rows: 1.
    """
    if gate.statistic == "total":
        return 1
    if gate.statistic == "quantile":
        return _for_quantile(gate)
    if gate.minimum is None or gate.maximum is None:
        return 2
    extent = gate.maximum - gate.minimum
    if not gate.paired:
        room = gate.maximum - gate.threshold if gate.rule == "at_least" else gate.threshold - gate.minimum
        return _for_level(gate, room / extent)
    margin = gate.threshold / extent
    odds = _z(gate) ** 2
    if gate.rule == "no_worse_than_baseline_by" and margin > 0:
        # No discordant pair: Tango's lower bound is -z^2 / (n + z^2).
        return 2 if margin > 1 else max(2, math.floor(odds * (1 - margin) / margin + 1e-9) + 1)
    # Every pair improved: Tango's lower bound is (n - z^2) / (n + z^2).
    return NEVER if margin >= 1 else max(2, math.floor(odds * (1 + margin) / (1 - margin) + 1e-9) + 1)


def _for_level(gate: Gate, room: float) -> int:
    """``room``: the distance from the bound to the perfect value, as a share of the range."""
    if room <= 0:
        return NEVER
    if room >= 1:
        return 2
    if gate.statistic == "rate":
        # Clopper-Pearson with nothing against: alpha^(1/n).
        return max(2, math.ceil(math.log(1 - gate.confidence) / math.log1p(-room) - 1e-9))
    return max(2, math.ceil(_z(gate) ** 2 * (1 - room) / room - 1e-9))


def _for_quantile(gate: Gate) -> int:
    """The bound that decides must be an order statistic inside the sample."""
    probability = gate.quantile if gate.quantile is not None else 0.5
    upper = math.ceil(math.log(1 - gate.confidence) / math.log(probability) - 1e-9)
    lower = math.ceil(math.log(1 - gate.confidence) / math.log1p(-probability) - 1e-9)
    if gate.paired:
        # The difference is bounded by the upper end of one variant and the lower end of the other.
        return max(2, upper, lower)
    return max(2, lower if gate.rule == "at_least" else upper)


def _z(gate: Gate) -> float:
    return NormalDist().inv_cdf(gate.confidence)
