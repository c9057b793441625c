"""``signoff affected``: what a change makes necessary to measure."""

from __future__ import annotations

import argparse
from argparse import Namespace

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put the command on the command line."""
    added = command(
        sub,
        "affected",
        "say what must be measured since a commit, and why",
        "signoff affected --since origin/main --json",
        affected_command,
    )
    added.add_argument("--since", metavar="REF", help="a branch, tag or commit, or 'release' (default: the merge base)")


def affected_command(args: Namespace) -> int:
    """``signoff affected``."""
    from harness.run.affected import affected

    found = affected(args.root, args.cache, args.since)
    if args.json:
        print_json(found.as_dict() | {"exit_code": 0})
        return 0
    for app in found.apps:
        note = "" if app.pinned else " (unpinned: nothing proves which build answers)"
        print(f"{app.name}: {'measure ' + ', '.join(app.stages) if app.because else 'not affected'}{note}")
        for reason in app.because:
            print(f"  - {reason}")
    for name in found.removed:
        print(f"{name}: deleted")
    return 0
