"""The cases of a suite, for a locustfile that runs outside of any run."""

from __future__ import annotations

from pathlib import Path

from harness.spec.repository import SuiteFiles
from harness.spec.suites import Case
from harness.store import fetch


def cases_of(suite: SuiteFiles, root: Path, cache: Path) -> list[Case]:
    """All cases of a suite of the tree ``root``, those of pinned packages fetched into ``cache``."""
    return [
        case
        for file in suite.case_files
        for case in file.resolve(lambda source, sha256: fetch(source, sha256, cache=cache, root=root))
    ]
