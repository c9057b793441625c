"""The report as workflow commands of GitHub Actions: one line for each finding, shown at the changed lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.report.folder import Run, read_run
from harness.report.sarif import Finding, findings
from harness.report.visible import one_line

# GitHub shows ten of each kind in a step; more would only hide which.
MOST = 10
MESSAGE = 500
_WORDS = {"error": "error", "warning": "warning", "note": "notice"}


def render_annotations(run_dir: Path) -> str:
    """The commands of a run folder, each on a line."""
    return "".join(commands_of(read_run(run_dir), run_dir))


def commands_of(run: Run, run_dir: Path) -> Iterator[str]:
    """The commands of a run that has been read: errors first, at most ten of a kind."""
    found = sorted(findings(run, run_dir), key=lambda finding: list(_WORDS).index(finding.level))
    counts = dict.fromkeys(_WORDS, 0)
    for finding in found:
        counts[finding.level] += 1
        if counts[finding.level] <= MOST:
            yield command(finding)


def command(finding: Finding) -> str:
    """One workflow command; nothing in a finding can end its line or begin another command."""
    place = finding.place
    properties = {"file": place.path, "line": str(max(1, place.line)), "title": f"Signoff: {finding.rule}"}
    if place.end >= place.line:
        properties["endLine"] = str(place.end)
    told = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
    return f"::{_WORDS[finding.level]} {told}::{_data(one_line(finding.message, MESSAGE))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
