"""``signoff doctor``: is everything there that a gate needs?"""

from __future__ import annotations

from pathlib import Path

from harness.run.doctor.finding import Finding
from harness.run.doctor.github import advice, workflows
from harness.run.doctor.learning import examine_adapters, examine_marts
from harness.run.doctor.machine import examine_machine
from harness.run.doctor.repository import history, read

__all__ = ["Finding", "advice", "examine"]


def examine(root: Path, cache: Path) -> list[Finding]:
    """Every finding about the machine, the repository and its workflows; nothing is changed and nothing is asked."""
    repository, files = read(root)
    machine = [*examine_machine(root, cache, repository), *examine_marts(root)]
    return [*machine, *files, *examine_adapters(root), *history(root), *workflows(root)]
