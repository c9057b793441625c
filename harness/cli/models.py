"""``signoff models compare``: which model, adapter or prompt should answer a step."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group, processes
from harness.errors import EXIT_ERROR, UsageError

if TYPE_CHECKING:
    from harness.run.model_choice import Choice

_MOST = 10_000


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``models`` and its command on the command line."""
    nested = group(sub, "models", "what could answer a step, side by side", "signoff models compare --app support")
    compare = command(
        nested,
        "compare",
        "measure the candidates of an app's step: quality, speed, memory and cost on one page",
        "signoff models compare --app support",
        compare_command,
    )
    compare.add_argument("--app", required=True, help="the app whose candidates.yaml is taken")
    compare.add_argument(
        "--candidate", action="append", default=[], metavar="ID", help="only this one; may be repeated (default: all)"
    )
    compare.add_argument(
        "--no-train", action="store_true", help="train nothing; candidates that nobody trained yet are left out"
    )
    processes(compare)
    compare.add_argument(
        "--latency-cases", type=int, default=20, metavar="N", help="how many cases are timed (default: 20; 0: none)"
    )


def compare_command(args: Namespace) -> int:
    """``signoff models compare``."""
    from harness.run.model_choice import PAGE, Wanted, compare_models
    from harness.run.options import Options

    if not 0 <= args.latency_cases <= _MOST:
        raise UsageError(f"--latency-cases is {args.latency_cases}; it must be 0 to {_MOST}")
    wanted = Wanted(args.latency_cases, not args.no_train, tuple(args.candidate), args.processes)
    choice = compare_models(Options(args.root, args.cache, (args.app,), quiet=args.json), wanted)
    code = EXIT_ERROR if any(each["broken"] for each in choice.data["not_measured"]) else 0
    if args.json:
        print_json({**choice.data, "run": str(choice.folder.path), "exit_code": code})
    else:
        _print(choice)
        print(f"page: {choice.folder.path / PAGE}")
    return code


def _print(choice: Choice) -> None:
    from harness.report.model_choice import COLUMNS, conclusion, notes, slice_rows, table_row
    from harness.report.visible import one_line

    data = choice.data
    print(f"{data['app']}, step {data['step']}: {data['metric']} on {data['cases']} cases")
    rows: list[tuple[str, ...]] = [("group", *COLUMNS)]
    rows += [(str(record["group"]), *table_row(record, data)) for record in data["candidates"]]
    _print_table([tuple(one_line(cell, 80) for cell in row) for row in rows])
    if found := slice_rows(data):
        print()
        _print_table([("slice", *data["slices"]), *found])
    print()
    for sentence in conclusion(data):
        print(one_line(sentence, 600))
    for each in data["not_measured"]:
        print(f"not measured: {_lost(each)}")
    for note in notes(data):
        print(f"- {note}")
    print("this decides nothing, signoff gate does")


def _lost(each: Mapping[str, Any]) -> str:
    from harness.report.visible import one_line

    return f"{each['id']}: {one_line(each['reason'], 300)}"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
