"""What the scripts of the workflows share. They run in any checkout: outside of GitHub they print instead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OUT = Path("reports/ci")
"""Where jobs leave things: git ignores it, so that a run over a clean checkout is a clean run."""
PLAN = OUT / "affected.json"
"""What ``signoff affected --json`` said; the jobs hand it on as an artifact."""


def signoff(*args: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command of this checkout; its exit code is the caller's to judge."""
    command = [sys.executable, "-m", "harness", *args]
    print("$ signoff", *args, flush=True)
    return subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True, check=False)


def baseline() -> list[str]:
    """The option that names the baseline: the base of the pull request or of the merge group, else none."""
    group = event().get("merge_group") or {}
    if group.get("base_sha"):
        return ["--baseline", group["base_sha"]]
    branch = os.environ.get("GITHUB_BASE_REF", "")
    return ["--baseline", f"origin/{branch}"] if branch else []


def event() -> dict[str, Any]:
    """What set the workflow off, as GitHub hands it over; empty elsewhere."""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return found


def outputs(values: Mapping[str, str]) -> None:
    """Set outputs of the step; ValueError for a value that would be more than one line."""
    if any("\n" in text or "\r" in text for text in values.values()):
        message = f"an output is one line: {values}"
        raise ValueError(message)
    _append("GITHUB_OUTPUT", [f"{name}={text}" for name, text in values.items()])


def summary(text: str) -> None:
    """Add Markdown to the summary of the job."""
    _append("GITHUB_STEP_SUMMARY", [text])


def complain(title: str, message: str, place: str = "", line: int | None = None) -> None:
    """Print an error that GitHub shows at line ``line`` of the file ``place``, or beside the run."""
    where = f"file={escaped(place)},line={line or 1}," if place else ""
    print(f"::error {where}title={title}::{escaped(message, ('%', chr(13), chr(10)))}", flush=True)


def escaped(text: str, signs: tuple[str, ...] = ("%", "\r", "\n", ":", ",")) -> str:
    """``text`` so that it cannot end its place in a workflow command."""
    for sign in signs:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def keep(source: Path, target: Path) -> None:
    """Copy a run folder over what an earlier run of the script left at ``target``."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source.resolve(), target)


def _append(variable: str, lines: Sequence[str]) -> None:
    path = os.environ.get(variable, "")
    if path:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
    else:
        print(*lines, sep="\n")
