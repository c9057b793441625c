"""Fixtures of the gate's tests."""

import pytest
from .builders import CHANGED

from harness.gate import decide


@pytest.fixture
def decided():
    """A function that decides one app's rows for its gates and gives the run's verdict."""

    def run(measurements, *gates, apps=CHANGED, profile="pr", **more):
        return decide(measurements, {"support": list(gates)}, profile=profile, apps=apps, **more)

    return run
