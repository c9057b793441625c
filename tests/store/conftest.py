"""Fixtures: a package index of the test's own, and a disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is pip's only index in this test; ``pip.log`` beside it tells of every call."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for variable, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_LOG": str(tmp_path / "pip.log"),
    }.items():
        monkeypatch.setenv(variable, value)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        refused = subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        refused = True
    if refused:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def frozen(small_disk: Path) -> Callable[[], None]:
    """Makes the small disk read-only, for root as well."""

    def freeze() -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    return freeze
