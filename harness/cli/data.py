"""``signoff data``: build the marts, and look for cases in them."""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from harness.cli import contamination
from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group
from harness.errors import EXIT_PASS, UsageError

if TYPE_CHECKING:
    from harness.data.marts import BuiltMart, StepDone


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``data`` with its commands on the command line."""
    data = group(sub, "data", "build the marts that adapters learn from", "signoff data build support_tickets")
    build = command(
        data,
        "build",
        "build marts from their sources, doing again only what changed",
        "signoff data build support_tickets",
        build_command,
    )
    build.add_argument("marts", nargs="*", metavar="MART", help="folders of data/ (default: all that have a mart.yaml)")
    contamination.add(data)


def build_command(args: Namespace) -> int:
    """``signoff data build``; 0, or 1 when an audit of a mart failed."""
    from harness.data.marts import build_mart

    built = []
    for name in args.marts or _all(args):
        if not args.json:
            print(name)
        mart = build_mart(args.root, name, args.cache, None if args.json else _say)
        built.append(_told(mart))
        if not args.json:
            _print(mart)
    if args.json:
        print_json({"marts": built})
    return EXIT_PASS


def _all(args: Namespace) -> list[str]:
    found = sorted(path.parent.name for path in args.root.glob("data/*/mart.yaml"))
    if not found:
        raise UsageError(f"there is no mart in {args.root}: no data/*/mart.yaml")
    return found


def _say(step: StepDone) -> None:
    done = f"unchanged since {step.finished}" if step.skipped else f"built in {step.seconds:.1f} s"
    print(f"  {step.name:<36} {step.rows:>8} rows  {done}", flush=True)


def _print(built: BuiltMart) -> None:
    manifest = built.manifest
    print("  kept: " + ", ".join(f"{count} {name}" for name, count in built.counts.items()))
    left = {**manifest["drops"]}
    for source, reasons in manifest["set_aside"].items():
        left |= {f"{source}: {reason}": count for reason, count in reasons.items()}
    print("  left out: " + (", ".join(f"{count} {reason}" for reason, count in left.items()) or "none"))
    if manifest["review"]:
        doubted = ", ".join(f"{count} of {label}" for label, count in manifest["review"].items())
        print(f"  labels to look at (review.jsonl): {doubted}")
    for source, state in manifest["freshness"].items():
        if state["status"] != "pass":
            print(f"  {state['status']}: source {source} is {_age(state)}")
    if manifest["seconds"]["status"] != "pass":
        took = manifest["seconds"]
        print(f"  {took['status']}: a build takes {took['value']:.1f} s, max_seconds is {took['bound']:g}")
    print(f"  digest {built.digest[:12]}, in {built.folder}")


def _age(state: dict[str, Any]) -> str:
    if state["value"] is None:
        return str(state["reason"])
    bound = state["error_after" if state["status"] == "error" else "warn_after"]
    return f"{state['value'] / 86_400:.1f} days old, {bound / 86_400:.1f} are allowed"


def _told(built: BuiltMart) -> dict[str, Any]:
    kept = ("digest", "counts", "drops", "set_aside", "review", "freshness", "seconds", "steps")
    return {"name": built.mart.name, "folder": str(built.folder), **{key: built.manifest[key] for key in kept}}
