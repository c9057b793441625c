"""``signoff redact``: a file without what tells who somebody is."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.data.redact_file import Redacted, Redactor


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``redact`` on the command line."""
    redact = command(
        sub,
        "redact",
        "replace personal data in a file by placeholders",
        "signoff redact tickets.jsonl --out tickets.redacted.jsonl --fields subject,body",
        redact_command,
    )
    redact.add_argument("file", type=Path, help="text, JSON lines, JSON or CSV, in UTF-8")
    target = redact.add_mutually_exclusive_group()
    target.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: standard output)")
    target.add_argument("--in-place", action="store_true", help="replace the file itself")
    redact.add_argument("--fields", type=_names, metavar="A,B", help="look at these fields or columns only")
    redact.add_argument("--entities", type=_names, metavar="A,B", help="look for these kinds only (default: all)")
    redact.add_argument("--threshold", type=float, default=0.4, help="how sure to be, 0 to 1 (default: 0.4)")
    redact.add_argument("--format", choices=("text", "jsonl", "json", "csv"), help="default: by the file's name")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        message = f"{text!r} names nothing; give names with commas between them"
        raise argparse.ArgumentTypeError(message)
    return names


def redact_command(args: Namespace) -> int:
    """``signoff redact``."""
    target = _target(args)
    redactor = _redactor(args)
    done = _write(redactor, args, target)
    entities = dict(sorted(done.entities.items()))
    if args.json:
        shown: dict[str, Any] = {"file": str(args.file), "out": str(target)}
        print_json(shown | {"records": done.records, "changed": done.changed, "entities": entities})
        return 0
    for entity, count in entities.items():
        print(f"{entity:<12} {count:>8}", file=sys.stderr)
    print(f"{sum(entities.values())} replaced in {done.changed} of {done.records} records", file=sys.stderr)
    return 0


def _target(args: Namespace) -> Path | None:
    """Where to write; None for standard output. The input is never overwritten by accident."""
    if not args.file.is_file():
        raise UsageError(f"{args.file} is not a file")
    if args.in_place:
        return Path(args.file.resolve())
    if args.out is None:
        if args.json:
            raise UsageError("with --json standard output holds the summary; give --out or --in-place")
        return None
    out = Path(args.out)
    if out.is_dir():
        raise UsageError(f"--out is {out}, a folder; name a file")
    if out.exists() and out.samefile(args.file):
        raise UsageError(f"--out is the file itself, {out}; give --in-place to replace it")
    return out.resolve()


def _redactor(args: Namespace) -> Redactor:
    from harness.data import load_anonymiser
    from harness.data.redact_file import Redactor
    from harness.spec.serving import Privacy

    if not 0 <= args.threshold <= 1:
        raise UsageError(f"--threshold is {args.threshold}; it lies between 0 and 1")
    texts = load_anonymiser(Privacy(threshold=args.threshold, entities=args.entities))
    return Redactor(texts, None if args.fields is None else frozenset(args.fields))


def _write(redactor: Redactor, args: Namespace, target: Path | None) -> Redacted:
    from harness.data.redact_file import holding, replacing

    with holding(sys.stdout.buffer) if target is None else replacing(target, args.file) as stream:
        return redactor.redact(args.file, stream, args.format)
