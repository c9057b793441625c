"""``signoff data contamination``: the cases that stand in what a model learns from or is shown."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command
from harness.errors import EXIT_FAIL

if TYPE_CHECKING:
    from harness.run.contamination import Contamination


def add(data: argparse._SubParsersAction[Parser]) -> None:
    """Put the command into the group ``data``."""
    added = command(
        data,
        "contamination",
        "name every case that stands in a mart or in a prompt of its app",
        "signoff data contamination --app support --mart support_tickets",
        contamination_command,
    )
    added.add_argument("--app", action="append", default=[], help="an app; may be given several times (default: all)")
    added.add_argument(
        "--mart", action="append", default=[], help="a mart; may be given several times (default: all, and the prompts)"
    )


def contamination_command(args: Namespace) -> int:
    """``signoff data contamination``; 1 when a pair counts."""
    from harness.data.contamination import BLIND
    from harness.run.contamination import contaminations

    found = contaminations(args.root, args.cache, args.app, args.mart, say=_silent if args.json else _say)
    code = EXIT_FAIL if any(each.pairs for each in found) else 0
    if args.json:
        print_json({"apps": {each.app: _as_dict(each) for each in found}, "not_covered": BLIND, "exit_code": code})
        return code
    for each in found:
        _print(each)
    print(f"not covered: {BLIND}")
    return code


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _silent(_: str) -> None:
    """Says nothing."""


def _print(found: Contamination) -> None:
    searched = ", ".join(f"{name} ({count:,})" for name, count in found.searched.items()) or "nothing"
    print(f"{found.app}: {found.texts:,} texts of cases held against {searched}")
    for pair in found.pairs:
        print(f"  case {pair.case} {pair.sentence}")
    for pair, waiver in found.waived:
        until = waiver.expires.isoformat()
        print(f"  waived until {until} by {waiver.by} ({waiver.reason}): case {pair.case} {pair.sentence}")
    for line in found.waiver_sentences():
        print(f"  {line}")
    seen = len(found.cases)
    print(f"  {seen} of its cases {'was' if seen == 1 else 'were'} seen" if seen else "  no case was seen")


def _as_dict(found: Contamination) -> dict[str, Any]:
    return {
        "texts": found.texts,
        "searched": dict(found.searched),
        "pairs": [pair.as_dict() for pair in found.pairs],
        "waived": [pair.as_dict() | waiver.model_dump(mode="json") for pair, waiver in found.waived],
        "expired_waivers": _plain(found.expired),
        "idle_waivers": _plain(found.idle),
    }


def _plain(waivers: Sequence[Any]) -> list[dict[str, Any]]:
    return [waiver.model_dump(mode="json") for waiver in waivers]
