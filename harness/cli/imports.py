"""``signoff import promptfoo``: another tool's files as files of this project."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group

if TYPE_CHECKING:
    from harness.run.importing import Imported

_SHOWN = 40


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``import`` and its commands on the command line."""
    nested = group(
        sub,
        "import",
        "other tools' files as files of this project",
        "signoff import promptfoo promptfooconfig.yaml --out gate",
    )
    promptfoo = command(
        nested,
        "promptfoo",
        "write a promptfooconfig as an app with its suite, prompts, models and gates",
        "signoff import promptfoo promptfooconfig.yaml --out gate",
        promptfoo_command,
    )
    promptfoo.add_argument("file", type=Path, metavar="FILE", help="a promptfooconfig, as YAML or JSON")
    promptfoo.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or an empty folder")
    promptfoo.add_argument("--app", default="", metavar="NAME", help="the app's name (default: from its description)")


def promptfoo_command(args: Namespace) -> int:
    """``signoff import promptfoo``."""
    from harness.run.importing import import_promptfoo

    found = import_promptfoo(args.file, args.out, args.app)
    if args.json:
        print_json(found.as_dict() | {"exit_code": 0})
    else:
        print_imported(found)
        print(f"next: read suites/*/gates.yaml, then signoff gate --root {found.out}")
    return 0


def print_imported(found: Imported) -> None:
    """What came over, and what did not."""
    from harness.report.visible import one_line

    for name, cases in found.apps.items():
        print(f"{name}: {cases} case{'' if cases == 1 else 's'}")
    counts = [f"{found.assertions.get(fate, 0)} {fate}" for fate in ("imported", "imported otherwise", "not imported")]
    print(f"assertions: {', '.join(counts)}")
    for entry in found.listed[:_SHOWN]:
        print(f"  {one_line(entry.line(), 300)}")
    if len(found.listed) > _SHOWN:
        print(f"  and {len(found.listed) - _SHOWN} more")
    print(f"all of this stands in {found.out / 'imported.json'}")
