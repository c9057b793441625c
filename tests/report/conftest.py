"""Run folders to report on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.run_folder import Folder, build


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Folder]:
    """A function that writes a run folder: ``make_folder("fail")``, or ``make_folder("fail", cases=False)``."""

    def make(decided: str = "fail", *, cases: bool = True, name: str = "run") -> Folder:
        return build(tmp_path / name, decided, cases=cases)

    return make
