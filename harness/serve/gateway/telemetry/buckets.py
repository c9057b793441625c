"""Bucket edges of the latency histograms: sensible defaults, and every threshold that somebody promised to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from harness.errors import UsageError

FIRST = "time_to_first_token"
PACE = "time_per_output_token"
TOTAL = "request_duration"
QUEUE = "queue_time"

DEFAULTS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        FIRST: (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0),
        PACE: (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5),
        TOTAL: (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0),
        QUEUE: (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    }
)


def bucket_edges(slo: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """The edges of each histogram in seconds, sorted and unique, ``slo``'s thresholds among them.

    A threshold between two edges could only be guessed at by interpolation, so an alert on it would be a guess too.
    UsageError for a name that is no histogram and for a threshold that is no positive number.
    """
    unknown = sorted(slo.keys() - DEFAULTS.keys())
    if unknown:
        raise UsageError(f"there is no latency {unknown[0]!r}; thresholds may be set for {', '.join(DEFAULTS)}")
    for name, thresholds in slo.items():
        for threshold in thresholds:
            if not (math.isfinite(threshold) and threshold > 0):
                raise UsageError(f"the threshold of {name} is {threshold!r}; it must be a positive number of seconds")
    return {name: tuple(sorted({*edges, *map(float, slo.get(name, ()))})) for name, edges in DEFAULTS.items()}
