"""Contracts as a test wishes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from harness.serve.remote import Contract, Contracts, Endpoint, Observation
from harness.serve.remote.features import FEATURES, Feature, Status


class Trusting(Contracts):
    """Believes that every endpoint honours everything but ``lacking``, and probes none."""

    def __init__(self, lacking: Mapping[Feature, Status] | None = None, *, adapters: bool = True) -> None:
        super().__init__()
        self._lacking = lacking or {}
        self._adapters = adapters

    async def of(self, endpoint: Endpoint) -> Contract:
        """A contract made up."""
        return self._made(endpoint, self._lacking)

    async def of_adapter(self, endpoint: Endpoint, base: Endpoint) -> Contract:
        """An adapter with an effect, or without."""
        return self._made(endpoint, {} if self._adapters else {"chat": "ignored"})

    def _made(self, endpoint: Endpoint, lacking: Mapping[Feature, Status]) -> Contract:
        now = datetime.now(UTC)
        features = {name: Observation(lacking.get(name, "honoured"), f"seen of {name}") for name in FEATURES}
        return Contract(endpoint.base_url, endpoint.model_id, {}, now, now + timedelta(days=1), 0, features)
