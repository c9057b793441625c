"""Load profiles: how an app is put under load, and what of it is measured."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from harness.spec.base import Spec

METRICS = ("ttft_s", "tpot_s", "e2e_s", "log_ttft", "log_e2e", "failed", "within_slo")
"""What a load test says of each request, as ``load.<name>``."""


class Slo(Spec):
    """What a request must keep to count as served well, in seconds; None: not promised."""

    ttft_s: float | None = Field(default=None, gt=0)
    tpot_s: float | None = Field(default=None, gt=0)
    e2e_s: float | None = Field(default=None, gt=0)


class LoadProfile(Spec):
    """``suites/<app>/load.yaml``.

    Requests arrive at ``rate`` a second (a seeded Poisson process) in ``blocks`` pairs of blocks, one block of
    ``block_requests`` for each arm; ``warmup`` requests to each arm before them are not counted. A run is void when
    the generator sent later than ``max_lag_s`` (95th percentile), when more than ``max_steal`` of the machine's time
    went to other virtual machines or more than ``max_busy`` to other programs, or when the baseline's own latency
    moved by more than ``max_drift`` (a natural logarithm: 0.3 is about 35 %) from the first half to the second.
    """

    description: str = ""
    seed: int = Field(default=0, ge=0)
    rate: float = Field(default=1.0, gt=0, le=10_000)
    blocks: int = Field(default=12, ge=2, le=1000)
    block_requests: int = Field(default=8, ge=1, le=10_000)
    warmup: int = Field(default=4, ge=0, le=10_000)
    timeout_s: float = Field(default=60.0, gt=0)
    max_lag_s: float = Field(default=0.25, gt=0)
    max_steal: float = Field(default=0.05, gt=0, le=1)
    max_busy: float = Field(default=0.35, gt=0, le=1)
    max_drift: float = Field(default=0.3, gt=0)
    slices: tuple[str, ...] = ()
    slo: Slo = Slo()

    @property
    def metrics(self) -> Mapping[str, int]:
        """Every metric with its number of observations: pairs of blocks, whatever number of requests they hold."""
        return {f"load.{name}": self.blocks for name in METRICS}
