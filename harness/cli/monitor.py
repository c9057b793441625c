"""``signoff monitor``: what a running app promises, and whether its traffic is still what was tested."""

from __future__ import annotations

import argparse
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group
from harness.cli.times import moment_of, window_of
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.monitor import Reference
    from harness.spec.monitor import Drift

TRACES = Path("reports") / "traces"


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``monitor`` on the command line."""
    inner = group(
        sub, "monitor", "watch a running app by its log of requests", "signoff monitor run --window 1d --app support"
    )
    run = command(
        inner,
        "run",
        "compare the log of a window with what monitor.yaml promises and with the reference",
        "signoff monitor run --window 1d --app support",
        run_command,
    )
    run.add_argument("--app", action="append", default=[], help="an app; may be repeated (default: all with the file)")
    run.add_argument("--window", metavar="TIME", help="how far back, as 6h or 1d (default: what monitor.yaml says)")
    run.add_argument("--traces", type=Path, metavar="DIR", help="the log of requests (default: reports/traces)")
    run.add_argument("--now", metavar="TIME", help="the window's end, as 2027-01-31T09:00:00Z (default: now)")
    reference = command(
        inner,
        "reference",
        "set what traffic is compared with: an accepted run, or traffic that people have looked at",
        "signoff monitor reference --app support --from latest",
        reference_command,
    )
    reference.add_argument("--app", required=True, help="the app")
    source = reference.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="run", metavar="RUN", help="an accepted run: its folder, its id, or 'latest'")
    source.add_argument("--traces", type=Path, metavar="DIR", help="a log of requests")
    reference.add_argument("--window", metavar="TIME", help="how far back, with --traces (default: 1w)")
    reference.add_argument("--now", metavar="TIME", help="the window's end, with --traces (default: now)")
    reference.add_argument("--no-texts", action="store_true", help="keep no anonymised inputs, only their histograms")
    reference.add_argument("--out", type=Path, metavar="FILE", help="where it goes (default: where monitor.yaml says)")


def run_command(args: Namespace) -> int:
    """``signoff monitor run``."""
    from harness.run.watch import Watch, watch
    from harness.run.watch.summary import printed

    now = moment_of(args.now, "--now") or datetime.now(UTC)
    traces = args.traces or args.root / TRACES
    report = watch(Watch(args.root, traces, now, tuple(args.app), window_of(args.window)))
    if args.json:
        print_json(report)
    else:
        for line in (*printed(report, "indicators"), *printed(report, "drift")):
            print(line)
        for name, app in report["apps"].items():
            for warning in app["warnings"]:
                print(f"warning: {name}: {warning}")
        print(f"\n{report['answer'].upper()}  run folder: {report['run']}")
        print(f"next: {report['next_action']}")
    return int(report["exit_code"])


def reference_command(args: Namespace) -> int:
    """``signoff monitor reference``."""
    from dataclasses import replace

    from harness.monitor import read_reference, reference_path, write_reference
    from harness.run.references import accepted
    from harness.spec.repository import load_repository
    from harness.store import open_run

    repository = load_repository(args.root, only=(args.app,))
    monitor = repository.suites[args.app].monitor
    if monitor is None or monitor.drift is None:
        message = f"suites/{args.app}/monitor.yaml has no 'drift': nothing is compared with a reference"
        raise UsageError(message)
    digest = repository.apps[args.app].digest
    if args.run:
        kept = accepted(open_run(args.run, args.root / "reports"), args.app)
        found = read_reference(kept, args.app)
    else:
        found = _of_traffic(args, monitor.drift, digest)
    assert found is not None
    if args.no_texts:
        found = replace(found, sample=())
    path = args.out or reference_path(monitor.drift, repository.apps[args.app].folder)
    write_reference(path, found)
    other = found.digest != digest
    if args.json:
        print_json({"file": str(path), "inputs": found.inputs, "digest": found.digest, "source": found.source})
        return 0
    print(f"{path}: {found.inputs} inputs, version {found.digest[:12]}, from {found.source}; commit it")
    if other:
        print(f"warning: the tree holds version {digest[:12]}, not the one that this reference belongs to")
    return 0


def _of_traffic(args: Namespace, drift: Drift, digest: str) -> Reference:
    from harness.monitor import TraceWindow
    from harness.run.references import of_traffic
    from harness.spec.monitor import span

    now = moment_of(args.now, "--now") or datetime.now(UTC)
    window = TraceWindow(args.traces, args.app, now - span(window_of(args.window) or "1w"), now)
    served = window.read().versions.most_common(1)
    # The version that gave the labels, which need not be the one in the tree.
    return of_traffic(window, drift, served[0][0] if served else digest, now)
