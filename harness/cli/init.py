"""``signoff init``: a repository whose gate can be run at once."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put the command on the command line."""
    init = command(
        sub,
        "init",
        "write a new repository: an app, its suite and gates, and the workflow that gates it",
        "signoff init shop-bot --endpoint http://127.0.0.1:8001/v1 --model small --examples tickets.jsonl",
        init_command,
    )
    init.add_argument("dir", type=Path, metavar="DIR", help="a new or an empty folder")
    init.add_argument("--app", default="", metavar="NAME", help="the app's name (default: the folder's)")
    init.add_argument("--endpoint", default="", metavar="URL", help="an OpenAI-compatible endpoint, up to /v1")
    init.add_argument("--model", default="", metavar="ID", help="what the endpoint calls the model")
    init.add_argument("--api-key-env", default="", metavar="VAR", help="the environment variable that holds the key")
    init.add_argument("--local", action="store_true", help="ask the small model that ships, on this machine")
    init.add_argument("--examples", type=Path, metavar="FILE", help="JSON lines with input and expected")
    init.add_argument("--promptfoo", type=Path, metavar="FILE", help="begin with what a promptfooconfig says")
    init.add_argument("--load", action="store_true", help="a load profile too")
    init.add_argument("--probes", action="store_true", help="attack probes too")


def init_command(args: Namespace) -> int:
    """``signoff init``."""
    from harness.run.init import Wanted, create

    created = create(
        Wanted(
            args.dir, args.app, args.endpoint, args.model, args.api_key_env, args.local, args.examples, args.promptfoo,
            args.load, args.probes,
        ),
        args.cache,
    )  # fmt: skip
    if args.json:
        print_json(created.as_dict() | {"exit_code": 0})
        return 0
    for name, cases in created.apps.items():
        print(f"{name}: {cases} case{'' if cases == 1 else 's'}")
    print(f"{created.about}; {len(created.files)} files below {created.out}")
    if created.imported:
        from harness.cli.imports import print_imported

        print_imported(created.imported)
    for warning in created.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if created.trouble:
        print(f"warning: {created.trouble}; the files are kept, run signoff gate when it answers", file=sys.stderr)
    print(f"next: cd {created.out} && git init && git add --all && git commit -m 'First version' && signoff gate")
    return 0
