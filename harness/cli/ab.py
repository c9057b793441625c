"""``signoff ab``: comparing the arms of traffic.yaml while they run."""

from __future__ import annotations

import argparse
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from harness.cli.commands import print_json
from harness.cli.monitor import TRACES
from harness.cli.parsing import Parser, command, group
from harness.cli.times import moment_of


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``ab`` on the command line."""
    inner = group(sub, "ab", "compare the arms of a running experiment", "signoff ab report --app support")
    report = command(
        inner,
        "report",
        "say whether an arm may be shipped, must be stopped, or goes on; look as often as you like",
        "signoff ab report --app support",
        report_command,
    )
    report.add_argument("--app", required=True, help="the app")
    report.add_argument("--traces", type=Path, metavar="DIR", help="the log of requests (default: reports/traces)")
    report.add_argument(
        "--since", metavar="TIME", help="since when the present shares are served (default: start or the last commit)"
    )
    report.add_argument("--now", metavar="TIME", help="until when, as 2027-01-31T09:00:00Z (default: now)")


def report_command(args: Namespace) -> int:
    """``signoff ab report``."""
    from harness.run.watch import AbReport, ab_report

    now = moment_of(args.now, "--now") or datetime.now(UTC)
    traces = args.traces or args.root / TRACES
    report = ab_report(AbReport(args.root, args.app, traces, now, moment_of(args.since, "--since")))
    if args.json:
        print_json(report)
        return int(report["exit_code"])
    users = ", ".join(f"{arm} {count}" for arm, count in report["users"].items())
    print(f"experiment {report['experiment']}, control {report['control']}, since {report['since']}; users: {users}")
    for each in report["outcomes"]:
        print(f"{each['answer'].upper():<10} {each['arm']}/{each['id']}: {each['reason']}")
    for text in report["blocked"]:
        print(f"blocked: {text}")
    for text in report["warnings"]:
        print(f"warning: {text}")
    print(f"\n{report['answer'].upper()}  run folder: {report['run']}")
    print(f"next: {report['next_action']}")
    return int(report["exit_code"])
