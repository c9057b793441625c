"""What every command's parser shares."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harness.errors import EXIT_USAGE


class Parser(argparse.ArgumentParser):
    """argparse exits with 2 on a bad command line; 2 is a verdict here."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message; exit 64."""
        self.print_usage(sys.stderr)
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def command(
    commands: argparse._SubParsersAction[Parser],
    name: str,
    help_text: str,
    example: str,
    run: Callable[[Namespace], int],
) -> argparse.ArgumentParser:
    """A command with the options that all have; ``run`` gets the parsed arguments and returns the exit code."""
    added = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument("--root", type=Path, default=Path.cwd(), help="the repository (default: this folder)")
    added.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    added.set_defaults(run_command=run)
    return added


def processes(parser: argparse.ArgumentParser) -> None:
    """``--processes`` of the commands that train."""
    parser.add_argument("--processes", type=count, default=1, metavar="N", help="train with N processes (default: 1)")


def count(text: str) -> int:
    """A whole number of at least 1, for the ``type`` of an argument; ArgumentTypeError for anything else."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        message = f"{text!r} is not a whole number of at least 1"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def group(
    commands: argparse._SubParsersAction[Parser], name: str, help_text: str, example: str
) -> argparse._SubParsersAction[Parser]:
    """A command that has commands of its own (``keys add``); they are added to what is returned."""
    added = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return added.add_subparsers(dest=f"{name}_command", required=True, metavar="COMMAND")
