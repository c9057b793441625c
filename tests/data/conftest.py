"""One anonymiser for all tests of this folder: loading presidio takes seconds."""

from __future__ import annotations

import pytest

from harness.data.anonymiser import Anonymiser


@pytest.fixture(scope="session")
def anonymiser() -> Anonymiser:
    """Looks for every kind of identifier."""
    pytest.importorskip("presidio_analyzer", reason="needs the extra 'serve'")
    return Anonymiser()
