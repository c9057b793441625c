"""The reports of a run, written into its folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.report.comment import brief, markdown
from harness.report.folder import read_run
from harness.report.junit import junit
from harness.report.page import page
from harness.report.sarif import sarif


def write_reports(
    run_dir: Path, manifest: Mapping[str, Any] | None = None, verdict: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write ``report.html``, ``summary.md``, ``comment.json``, ``findings.sarif``, ``junit.xml``; their paths.

    All are made before the first is put in its place, each is replaced in one step, and the same folder always gives
    the same bytes. SignoffError: the folder has no manifest or verdict and none was given.
    """
    run = read_run(run_dir, manifest, verdict)
    made: dict[Path, Path] = {}
    try:
        told = brief(run)
        files: tuple[tuple[str, Iterable[str]], ...] = (
            ("report.html", [page(run)]),
            ("summary.md", [markdown(told)]),
            ("comment.json", [json.dumps(told, ensure_ascii=True, indent=1)]),
            ("findings.sarif", [sarif(run, run_dir)]),
            ("junit.xml", junit(run)),
        )
        for name, pieces in files:
            made[run_dir / name] = _written(run_dir, name, pieces)
        for path, temporary in made.items():
            temporary.replace(path)
    finally:
        for temporary in made.values():
            temporary.unlink(missing_ok=True)
    return list(made)


def _written(folder: Path, name: str, pieces: Iterable[str]) -> Path:
    """A file of its own beside the place of ``name`` that holds ``pieces``."""
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(piece.encode("utf-8") for piece in pieces)
        # mkstemp makes files that only the owner reads; a report is for everyone who may read the folder.
        Path(temporary).chmod(0o644)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return Path(temporary)
