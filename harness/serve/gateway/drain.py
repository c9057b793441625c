"""Whether the server is on its way out: known to whoever answers ``/ready``, without being told at construction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KEY = "signoff.drain"


@dataclass(slots=True)
class Drain:
    """``started`` from the moment at which the server was asked to stop."""

    started: bool = False

    def put_into(self, state: dict[str, Any]) -> None:
        """Add this to what the server hands to every request as ``scope["state"]``."""
        state[_KEY] = self


def draining(scope: Mapping[str, Any]) -> bool:
    """Whether the server that a request came to was asked to stop; False under servers that do not say."""
    drain = scope.get("state", {}).get(_KEY)
    return isinstance(drain, Drain) and drain.started
