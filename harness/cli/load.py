"""``signoff load``: an app under load, decided by nobody."""

from __future__ import annotations

import argparse
from argparse import Namespace

from harness.cli.parsing import Parser, command
from harness.errors import UsageError


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``load`` on the command line."""
    load = command(
        sub,
        "load",
        "put apps under load and decide nothing; signoff gate decides",
        "signoff load --app support --rate 3",
        load_command,
    )
    load.add_argument("--app", action="append", default=[], help="an app; may be given several times (default: all)")
    load.add_argument("--baseline", metavar="REF", help="what the baseline is")
    load.add_argument("--rate", type=float, metavar="R", help="requests a second (default: as load.yaml says)")
    load.add_argument(
        "--url", metavar="URL", help="ask the gateway that runs there, only the candidate (default: one of its own)"
    )
    load.add_argument("--api-key-env", default="", metavar="VAR", help="the variable that holds the key of --url")
    load.add_argument("--allow-remote", action="store_true", help="the address may be another machine's")


def load_command(args: Namespace) -> int:
    """``signoff load``."""
    from harness.cli.commands import print_measured
    from harness.run.load_test import load_test
    from harness.run.options import Options

    url = _target(args)
    if args.rate is not None and not 0 < args.rate <= 10_000:
        raise UsageError(f"--rate is {args.rate:g}; it must be above 0 and at most 10000 requests a second")
    options = Options(
        args.root,
        args.cache,
        tuple(args.app),
        args.baseline,
        quiet=args.json,
        only=("load",),
        variants=("candidate",) if url else ("baseline", "candidate"),
        url=url,
        key_env=args.api_key_env,
        fresh=True,
    )
    return print_measured(load_test(options, args.rate), as_json=args.json)


def _target(args: Namespace) -> str:
    import os

    from harness.spec.urls import checked_url, is_loopback

    if not args.url:
        if args.allow_remote or args.api_key_env:
            raise UsageError("--allow-remote and --api-key-env belong to --url, which is not given")
        return ""
    url = checked_url(args.url)
    if not is_loopback(url) and not args.allow_remote:
        raise UsageError(f"{url} is not on this machine and would be put under load: allow that with --allow-remote")
    if args.api_key_env and not os.environ.get(args.api_key_env):
        raise UsageError(f"--api-key-env names the environment variable {args.api_key_env}, which is not set")
    return url
