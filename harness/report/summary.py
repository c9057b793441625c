"""The report for a pull request: verdict, what changed, why, the worst cases, what to do; at most fifteen lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.comment import brief, markdown
from harness.report.folder import Run, read_run


def render_summary(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> str:
    """``summary.md`` of a run folder: Markdown, at most fifteen lines that are not blank."""
    return summary(read_run(run_dir, manifest, verdict))


def summary(run: Run) -> str:
    """``summary.md`` of a run that has been read; the comment of a pull request says the same."""
    return markdown(brief(run))
