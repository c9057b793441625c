"""``signoff keys add|list|revoke``: the keys of a gateway."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentTypeError, Namespace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, count, group
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.serve.gateway.keys import KeyFile
    from harness.spec.keys import ApiKey


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``keys`` and its three commands on the command line."""
    nested = group(
        sub, "keys", "create, list and revoke the API keys of a gateway", "signoff keys list --file keys.yaml"
    )
    _add_parser(nested)
    _file(command(nested, "list", "show every key, never a secret", "signoff keys list --file keys.yaml", list_command))
    revoke = command(
        nested, "revoke", "end a key for good", "signoff keys revoke key-3f2a9c1b --file keys.yaml", revoke_command
    )
    revoke.add_argument("id", help="the key's id, as keys list shows it")
    _file(revoke)


def _add_parser(nested: argparse._SubParsersAction[Parser]) -> None:
    added = command(
        nested,
        "add",
        "create a key and print it once",
        "signoff keys add --file keys.yaml --model support --expires 2027-01-31 --note web-shop",
        add_command,
    )
    _file(added)
    added.add_argument(
        "--model",
        action="append",
        type=_name,
        default=[],
        help="an app or model that it may call; repeat for more (default: all)",
    )
    added.add_argument(
        "--role", choices=("user", "operator", "admin"), default="user", help="user calls, operator reads metrics too"
    )
    added.add_argument("--expires", type=_moment, metavar="DATE", help="the last day, or a moment with its zone")
    for name in ("requests-per-minute", "tokens-per-minute", "concurrent"):
        added.add_argument(f"--{name}", type=count, metavar="N", help="its own limit (default: the server's)")
    added.add_argument("--note", default="", help="whose it is")


def _file(added: argparse.ArgumentParser) -> None:
    added.add_argument("--file", type=Path, required=True, help="the key file, YAML or (named *.json) JSON")


def add_command(args: Namespace) -> int:
    """``signoff keys add``."""
    from harness.serve.gateway.keys import KeyFile
    from harness.spec.keys import KeyQuota

    if args.expires is not None and args.expires <= datetime.now(UTC):
        message = f"--expires is {args.expires.isoformat()}, which is over; give a later one"
        raise UsageError(message)
    limits = KeyQuota(
        requests_per_minute=args.requests_per_minute,
        tokens_per_minute=args.tokens_per_minute,
        concurrent=args.concurrent,
    )
    file, secret = KeyFile.load_or_new(args.file).add(
        models=args.model or ("*",), role=args.role, limits=limits, expires=args.expires, note=args.note
    )
    key = file.keys[-1]
    if args.json:
        print_json({**_shown(key), "key": secret})
    else:
        # Nothing but the key on standard output: `KEY=$(signoff keys add ...)`.
        print(
            f"{key.id} added to {args.file}; the key is shown this once, and only its sha256 is kept", file=sys.stderr
        )
        print(secret)
    return 0


def list_command(args: Namespace) -> int:
    """``signoff keys list``."""
    file = _load(args)
    if args.json:
        print_json({"keys": [_shown(key) for key in file.keys]})
        return 0
    for key in file.keys:
        shown = _shown(key)
        limits = ", ".join(f"{name} {value}" for name, value in shown["limits"].items())
        parts = (f"may call {', '.join(key.models)}", limits, f"expires {key.expires}" if key.expires else "", key.note)
        print(f"{key.id}  {shown['state']:<8} {key.role:<9} " + "; ".join(part for part in parts if part))
    return 0


def revoke_command(args: Namespace) -> int:
    """``signoff keys revoke``."""
    file = _load(args).revoke(args.id)
    (key,) = (key for key in file.keys if key.id == args.id)
    if args.json:
        print_json(_shown(key))
    else:
        print(f"{key.id} is revoked; running servers refuse it within a second")
    return 0


def _load(args: Namespace) -> KeyFile:
    from harness.serve.gateway.keys import KeyFile

    file = KeyFile.load(args.file)
    for warning in file.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return file


def _shown(key: ApiKey) -> dict[str, Any]:
    state = "revoked" if key.revoked else "expired" if key.expires and key.expires <= datetime.now(UTC) else "valid"
    return {
        "id": key.id,
        "state": state,
        "role": key.role,
        "models": list(key.models),
        "limits": key.limits.model_dump(exclude_none=True),
        "expires": key.expires,
        "created": key.created,
        "revoked": key.revoked,
        "note": key.note,
    }


def _moment(text: str) -> datetime:
    try:
        # The day itself counts, as everywhere else.
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        message = f"{text!r} is neither a day like 2027-01-31 nor a moment like 2027-01-31T18:00:00Z"
        raise ArgumentTypeError(message)
    return moment


def _name(text: str) -> str:
    if not text or len(text) > 200 or any(letter.isspace() for letter in text) or ("*" in text and text != "*"):
        message = f"{text!r} is not the name of an app or model, and not * for all"
        raise ArgumentTypeError(message)
    return text
