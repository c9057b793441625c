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

    Requests arrive at ``rate`` a second (a seeded Poisson process) in ``blocks`` blocks of ``block_requests``, which
    alternate between the arms; ``warmup`` requests before them are not counted. ``max_lag_s`` is how late the
    generator may send before the run is void.
    """

    description: str = ""
    seed: int = Field(default=0, ge=0)
    rate: float = Field(default=1.0, gt=0)
    blocks: int = Field(default=6, ge=2)
    block_requests: int = Field(default=10, ge=1)
    warmup: int = Field(default=4, ge=0)
    timeout_s: float = Field(default=60.0, gt=0)
    max_lag_s: float = Field(default=0.25, gt=0)
    slices: tuple[str, ...] = ()
    slo: Slo = Slo()

    @property
    def metrics(self) -> Mapping[str, int]:
        """Every metric with the number of requests that it is measured on, an arm."""
        return {f"load.{name}": self.blocks * self.block_requests for name in METRICS}
