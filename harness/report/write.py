"""The reports of a run, written into its folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.folder import read_run
from harness.report.junit import junit
from harness.report.page import page
from harness.report.summary import summary


def write_reports(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write ``report.html``, ``summary.md`` and ``junit.xml`` into ``run_dir``; their paths.

    All three are made before the first is written, each is replaced in one step, and the same folder always gives
    the same bytes. SignoffError: the folder has no manifest or verdict and none was given.
    """
    run = read_run(run_dir, manifest, verdict)
    made = {"report.html": page(run), "summary.md": summary(run), "junit.xml": junit(run)}
    return [_replace(run_dir / name, text) for name, text in made.items()]


def _replace(path: Path, text: str) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8"))
        # mkstemp makes files that only the owner reads; a report is for everyone who may read the folder.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
