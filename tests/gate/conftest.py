"""Fixtures of the gate's tests."""

import pytest

from harness.gate import decide

from .builders import CHANGED


@pytest.fixture
def decided():
    """A function that decides one app's rows for its gates and gives the run's verdict."""

    def run(measurements, *gates, apps=CHANGED, profile="pr", **more):
        return decide(measurements, {"support": list(gates)}, profile=profile, apps=apps, **more)

    return run
