"""Monitoring: what a running app promises, and what its traffic is compared with."""

from __future__ import annotations

from harness.spec.base import Spec


class Monitor(Spec):
    """``suites/<app>/monitor.yaml``."""

    description: str = ""
