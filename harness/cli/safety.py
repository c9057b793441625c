"""``signoff safety``: attack the apps with the probes of their suites, and probe a served gateway."""

from __future__ import annotations

import argparse
import os
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from harness.cli.commands import measured, print_json
from harness.cli.parsing import Parser, command
from harness.errors import EXIT_FAIL, EXIT_PASS, UsageError

if TYPE_CHECKING:
    from harness.safety.server import ServerReport

FINDINGS = Path("reports") / "server" / "artifacts" / "safety" / "findings.json"
"""Where the findings of the last probes of a server lie, in the repository."""


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``safety`` and ``safety server`` on the command line."""
    safety = command(
        sub,
        "safety",
        "attack the apps with the probes of their suites and decide nothing; or probe a server",
        "signoff safety --app support",
        safety_command,
    )
    safety.add_argument("--app", action="append", default=[], help="an app; may be given several times (default: all)")
    safety.add_argument("--baseline", metavar="REF", help="what the baseline is")
    safety.add_argument(
        "--profile", choices=("pr", "nightly", "release"), default="pr", help="for which gates (default: pr)"
    )
    nested = safety.add_subparsers(dest="safety_command", required=False, metavar="[server]", parser_class=Parser)
    server = command(
        nested,
        "server",
        "probe a gateway over HTTP: keys, roles, routes, sizes, names, leaks",
        "signoff safety server --url http://127.0.0.1:8080 --key-env SIGNOFF_KEY",
        server_command,
    )
    for action in server._actions:
        # What stands before the word 'server' counts as well.
        if action.dest in ("root", "json"):
            action.default = argparse.SUPPRESS
    server.add_argument("--app", action="append", default=argparse.SUPPRESS, help="an app that our own gateway serves")
    server.add_argument("--url", help="the gateway (default: one of our own is started, with keys of its own)")
    server.add_argument("--allow-remote", action="store_true", help="let --url be another machine; ask its owner first")
    server.add_argument(
        "--keys", type=Path, metavar="FILE", help="the key file of the gateway that is started; a copy gets probe keys"
    )
    server.add_argument("--key-env", metavar="VAR", help="the variable that holds a user's key for --url")
    server.add_argument("--operator-key-env", metavar="VAR", help="the variable that holds an operator's key for --url")


def safety_command(args: Namespace) -> int:
    """Measure the stage."""
    from harness.run.options import Options

    options = Options(
        args.root,
        args.cache,
        tuple(args.app),
        baseline=args.baseline,
        profile=args.profile,
        quiet=args.json,
        only=("safety",),
    )
    return measured(options, as_json=args.json)


def server_command(args: Namespace) -> int:
    """Probe a server; 0 without a finding, 1 with any."""
    from harness.safety.findings import findings_file
    from harness.safety.server import probe_server
    from harness.safety.server.own import own_target
    from harness.safety.server.target import Keys, Target
    from harness.store import write_atomic

    if args.url is None:
        _refuse(args, "key_env", "operator_key_env", "allow_remote", why="belongs to --url")
        with own_target(args.root, args.cache, tuple(args.app), args.keys) as target:
            report = probe_server(target)
    else:
        _refuse(args, "keys", why="is for the gateway that is started without --url; give the secret by --key-env")
        base = _base(args.url, allow_remote=args.allow_remote)
        keys = Keys(
            user=_secret("--key-env", args.key_env), operator=_secret("--operator-key-env", args.operator_key_env)
        )
        report = probe_server(Target(base, keys))
    file = args.root / FINDINGS
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, orjson.dumps(findings_file("server", report.findings), option=orjson.OPT_INDENT_2))
    code = EXIT_FAIL if report.findings else EXIT_PASS
    if args.json:
        found = {"findings": [asdict(each) for each in report.findings], "file": str(file)}
        print_json({"url": report.base, "checks": report.checks, "untried": report.untried, **found, "exit_code": code})
    else:
        print(table(report))
        print(f"findings: {file}")
    return code


def table(report: ServerReport) -> str:
    """The findings, one a line under a heading, and what could not be tried."""
    lines = []
    if report.findings:
        rows = [(each.level, each.id, each.route, each.expected, each.found) for each in report.findings]
        head = ("level", "id", "route", "expected", "came")
        widths = [min(48, max(len(row[column]) for row in [head, *rows])) for column in range(4)]
        lines += [
            "  ".join([*(f"{cell:<{width}.{width}}" for cell, width in zip(row, widths)), row[4]])
            for row in [head, *rows]
        ]
        lines.append("")
    lines += [f"not tried: {what}" for what in report.untried]
    count = len(report.findings)
    found = f"{count} finding" + ("" if count == 1 else "s") if count else "no finding"
    return "\n".join([*lines, f"{report.base}: {report.checks} requests, {found}"])


def _refuse(args: Namespace, *names: str, why: str) -> None:
    for name in names:
        if getattr(args, name):
            raise UsageError(f"--{name.replace('_', '-')} {why}")


def _base(url: str, *, allow_remote: bool) -> str:
    from harness.spec.urls import checked_url, is_loopback

    parts = urlsplit(checked_url(url))
    base = f"{parts.scheme}://{parts.netloc}"
    if not is_loopback(base) and not allow_remote:
        message = f"--url is {url}, which is not this machine; with its owner's consent add --allow-remote"
        raise UsageError(message)
    return base


def _secret(option: str, variable: str | None) -> str:
    if variable is None:
        return ""
    secret = os.environ.get(variable, "")
    if not secret:
        raise UsageError(f"{option} names {variable}, which is not set in the environment")
    return secret
