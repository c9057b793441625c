"""``signoff finetune`` and ``signoff adapters``: building adapters, and proving what lies in the tree."""

from __future__ import annotations

import argparse
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group, processes
from harness.errors import EXIT_FAIL, UsageError

if TYPE_CHECKING:
    from harness.tune import TuneRequest


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put both on the command line."""
    tune = command(
        sub,
        "finetune",
        "build the adapters whose inputs changed, from their recipes and marts",
        "signoff finetune support-triage",
        finetune_command,
    )
    tune.add_argument("adapters", nargs="*", metavar="ADAPTER", help="names of adapters (default: all with a recipe)")
    tune.add_argument(
        "--again",
        action="store_true",
        help="build versions that exist a second time, into the cache, and say whether bytes or answers differ",
    )
    processes(tune)
    adapters = group(sub, "adapters", "prove what the built adapters are", "signoff adapters verify")
    command(
        adapters,
        "verify",
        "compare every built adapter version with its manifest and its base",
        "signoff adapters verify",
        verify_command,
    )
    command(
        adapters,
        "fetch",
        "bring weights that lie in a store and not in git, compared with their manifests",
        "signoff adapters fetch",
        fetch_command,
    )


def finetune_command(args: Namespace) -> int:
    """``signoff finetune``."""
    requests = _requests(args)
    built = [_again(request) if args.again else _build(args, request) for request in requests]
    if args.json:
        print_json({"adapters": built})
    else:
        for entry in built:
            print(entry["told"])
    return EXIT_FAIL if any(not entry["equal"] for entry in built) else 0


def _requests(args: Namespace) -> list[TuneRequest]:
    from harness.spec.adapters import ADAPTERS
    from harness.spec.repository import load_shared
    from harness.tune import TuneRequest

    recipes = load_shared(args.root).recipes
    unknown = sorted(set(args.adapters) - set(recipes))
    if unknown:
        known = ", ".join(recipes) or "none"
        raise UsageError(f"no recipe models/adapters/{unknown[0]}/recipe.yaml; there are recipes for: {known}")
    chosen = args.adapters or list(recipes)
    return [
        TuneRequest(args.root, args.cache, recipes[name], args.root / ADAPTERS / recipes[name].key, args.processes)
        for name in chosen
    ]


def _build(args: Namespace, request: TuneRequest) -> dict[str, Any]:
    from harness.spec.adapters import CARD
    from harness.spec.git import git
    from harness.tune import built, finetune, inputs_of

    key, shown = request.recipe.key, request.out.relative_to(args.root).as_posix()
    found = built(request.out)
    inputs = inputs_of(request.root, request.cache, request.recipe)
    moved = inputs.differs_from(found.manifest) if found else []
    if moved and git(args.root, "ls-files", "--error-unmatch", f"{shown}/manifest.json", check=False) is not None:
        message = (
            f"{key} is committed and was built from another {', '.join(moved)}; a version stays what it is: raise "
            f"version in models/adapters/{request.recipe.name}/recipe.yaml, and name the new one in app.yaml"
        )
        raise UsageError(message)
    tuned = finetune(request, inputs)
    entry = {"key": key, "folder": shown, "fresh": tuned.fresh, "seconds": tuned.seconds, "bytes": tuned.bytes}
    if not tuned.fresh:
        words = f"; its card has the recipe's words now, commit {shown}/{CARD}" if tuned.reworded else ""
        return entry | {"equal": True, "told": f"{key}: unchanged{words}"}
    loss = tuned.manifest.provenance["training"]["validation_loss"]
    told = f"{key}: built in {tuned.seconds:.0f} s, {tuned.bytes:,} bytes, validation loss {loss:.3f}; commit {shown}/"
    return entry | {"equal": True, "told": told}


def _again(request: TuneRequest) -> dict[str, Any]:
    from harness.tune import rebuild

    found = rebuild(request)
    key = request.recipe.key
    lines = [f"{key}: built again in {found.seconds:.0f} s: {'the same bytes' if found.same_bytes else 'other bytes'}"]
    if found.moved:
        lines.append(f"  since the first build another {', '.join(found.moved)}")
    for name, (one, two, difference, low, high) in found.differences.items():
        change = f"{100 * difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        lines.append(f"  {name}: {100 * one:.1f} % and {100 * two:.1f} % right, {change}")
    if not found.same_bytes:
        lines.append(f"  {'nothing tells the two apart' if found.equal else 'they answer differently'}")
    return {
        "key": key,
        "folder": str(found.second.folder),
        "fresh": True,
        "seconds": found.seconds,
        "same_bytes": found.same_bytes,
        "differences": found.differences,
        "moved": list(found.moved),
        "equal": found.equal,
        "told": "\n".join(lines),
    }


def verify_command(args: Namespace) -> int:
    """``signoff adapters verify``."""
    from harness.tune import verify_adapters

    found = verify_adapters(args.root, args.cache)
    wrong = [version for version in found if version.wrong]
    if args.json:
        print_json({"adapters": [asdict(version) for version in found], "verdict": "fail" if wrong else "pass"})
        return EXIT_FAIL if wrong else 0
    for version in found:
        print(f"{version.key}: {'WRONG' if version.wrong else 'as its manifest says'}, {version.bytes:,} bytes")
        for line in version.wrong:
            print(f"  {line}")
        for part in version.moved:
            print(f"  note: its {part} is another one now; what it answers is measured by the gate")
        for note in version.notes:
            print(f"  note: {note}")
    if not found:
        print("no adapter version is built; build one with: signoff finetune")
    return EXIT_FAIL if wrong else 0


def fetch_command(args: Namespace) -> int:
    """``signoff adapters fetch``."""
    from harness.tune import fetch_adapters

    found = fetch_adapters(args.root)
    if args.json:
        print_json({"adapters": [asdict(each) for each in found]})
        return 0
    for each in found:
        print(f"{each.key}: {'fetched from' if each.fresh else 'here already, as at'} {each.url}, {each.bytes:,} bytes")
    if not found:
        print("no adapter version has its weights in a store")
    return 0
