"""Contracts as a test wishes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from harness.serve.remote import Contract, Contracts, Endpoint, Observation
from harness.serve.remote.features import FEATURES, Feature, Status


class Trusting(Contracts):
    """Believes that endpoints honour everything but ``lacking``, adapters all but ``adapters``, and probes none."""

    def __init__(
        self,
        lacking: Mapping[Feature, Status] | None = None,
        *,
        adapters: Mapping[Feature, Status] | None = None,
    ) -> None:
        super().__init__()
        self._lacking = lacking or {}
        self._adapters = adapters or {}

    async def of(self, endpoint: Endpoint) -> Contract:
        """A contract made up."""
        return self._made(endpoint, self._lacking)

    async def of_adapter(self, endpoint: Endpoint, base: Endpoint) -> Contract:
        """What is made up of adapters."""
        return self._made(endpoint, self._adapters)

    def _made(self, endpoint: Endpoint, lacking: Mapping[Feature, Status]) -> Contract:
        now = datetime.now(UTC)
        features = {name: Observation(lacking.get(name, "honoured"), f"seen of {name}") for name in FEATURES}
        return Contract(endpoint.base_url, endpoint.model_id, {}, now, now + timedelta(days=1), 0, features)
