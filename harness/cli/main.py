"""Argument parsing and the one place where errors become exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from harness import __version__
from harness.cli import (
    ab,
    affected,
    commands,
    data,
    doctor,
    finetune,
    imports,
    init,
    judges,
    keys,
    load,
    models,
    monitor,
    probe_endpoint,
    prompts,
    redact,
    safety,
    serve,
)
from harness.cli.parsing import Parser, command
from harness.errors import SignoffError
from harness.store import cache_home

# Modules whose ``add`` puts their commands on the command line.
_MORE: tuple[ModuleType, ...] = (
    keys,
    judges,
    prompts,
    affected,
    probe_endpoint,
    serve,
    redact,
    load,
    imports,
    init,
    doctor,
    finetune,
    monitor,
    ab,
    safety,
    data,
    models,
)


def parser() -> Parser:
    """The whole command line."""
    top = Parser(prog="signoff", description="The release gate for applications built on large language models.")
    top.add_argument("--version", action="version", version=f"signoff {__version__}")
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = command(
        sub, "check", "read every versioned file and say what is wrong with it", "signoff check", commands.check_command
    )
    _choose(check)
    gate = command(
        sub,
        "gate",
        "measure what the change affects, decide, write the report",
        "signoff gate --app support --baseline origin/main",
        commands.gate_command,
    )
    _choose(gate)
    gate.add_argument(
        "--profile", choices=("pr", "nightly", "release"), default="pr", help="which gates apply (default: pr)"
    )
    gate.add_argument(
        "--only", action="append", default=[], metavar="STAGE", help="run this stage only; may be repeated"
    )
    gate.add_argument(
        "--skip", action="append", default=[], metavar="STAGE", help="leave this stage out; its gates stay undecided"
    )
    gate.add_argument(
        "--from",
        dest="parts",
        action="append",
        default=[],
        metavar="RUN",
        help="take measurements of this run folder, written by signoff measure, instead of measuring; may be repeated",
    )
    measure = command(
        sub,
        "measure",
        "measure some stages and decide nothing; signoff gate --from puts such runs together",
        "signoff measure regression evals --app support",
        commands.measure_command,
    )
    _choose(measure)
    measure.add_argument("stages", nargs="*", metavar="STAGE", help="the stages (default: all)")
    measure.add_argument(
        "--profile", choices=("pr", "nightly", "release"), default="pr", help="for which gates (default: pr)"
    )
    evaluate = command(
        sub,
        "eval",
        "measure one app without deciding anything",
        "signoff eval --app support --variant candidate",
        commands.eval_command,
    )
    evaluate.add_argument("--app", required=True, help="the app")
    evaluate.add_argument("--variant", choices=("candidate", "baseline"), default="candidate")
    evaluate.add_argument("--baseline", metavar="REF", help="what the baseline is")
    report = command(
        sub,
        "report",
        "render a run's report, summary and JUnit file again",
        "signoff report latest",
        commands.report_command,
    )
    report.add_argument("run", help="a run folder, its id, or 'latest'")
    approve = command(
        sub,
        "approve",
        "let an inconclusive run pass, by name, with reason and expiry",
        'signoff approve latest --as "Dana Reyes" --note "slice too small, read by hand" --expires 2027-01-31',
        commands.approve_command,
    )
    approve.add_argument("run", help="a run folder, its id, or 'latest'")
    approve.add_argument("--as", dest="name", required=True, help="who approves")
    approve.add_argument("--note", required=True, help="why")
    approve.add_argument("--expires", required=True, metavar="DATE", help="until when, as 2027-01-31")
    demo = command(
        sub,
        "demo",
        "the whole story on recorded outputs, in under a minute and without torch",
        "signoff demo",
        commands.demo_command,
    )
    demo.add_argument("--no-open", action="store_true", help="do not open the report in a browser")
    for module in _MORE:
        module.add(sub)
    return top


def _choose(command: argparse.ArgumentParser) -> None:
    command.add_argument("--app", action="append", default=[], help="an app; may be given several times (default: all)")
    command.add_argument(
        "--baseline", metavar="REF", help="a branch, tag or commit, or 'release' (default: the merge base)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 pass, 1 fail, 2 inconclusive, 3 harness failed, 64 usage."""
    # Every dependency that phones home is told not to before it is imported.
    os.environ.update({"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DEEPEVAL_TELEMETRY_OPT_OUT": "1"})
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    args = parser().parse_args(argv)
    args.root = args.root.resolve()
    args.cache = cache_home()
    try:
        code: int = args.run_command(args)
    except SignoffError as error:
        commands.print_error(error, as_json=args.json)
        return error.exit_code
    except KeyboardInterrupt:
        print("signoff: interrupted; finished generations are in the cache", file=sys.stderr)
        return SignoffError.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return SignoffError.exit_code
    return code
