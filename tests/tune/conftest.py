"""The tiny model's folder, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.conftest import small_disk
from tests.tune.small import tiny_cache

__all__ = ["small_disk"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the tiny model."""
    folder = tmp_path_factory.mktemp("tuning")
    tiny_cache(folder)
    return folder


@pytest.fixture(scope="session")
def model(cache: Path) -> Path:
    """The folder of the tiny model."""
    return tiny_cache(cache)
