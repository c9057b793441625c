"""One function for each command; heavy imports stand inside."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import orjson

from harness.errors import EXIT_ERROR, SignoffError, UsageError

if TYPE_CHECKING:
    from harness.run.options import Options
    from harness.run.pipeline import GateRun

MARKS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE", "error": "ERROR", "not_applicable": "n/a"}


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str).decode())


def print_error(error: SignoffError, *, as_json: bool) -> None:
    """The message on standard error; with ``--json`` an object on standard output."""
    problems = [
        {"path": problem.path, "line": problem.line, "message": problem.message}
        for problem in getattr(error, "problems", ())
    ]
    if as_json:
        print_json({"error": str(error), "problems": problems, "exit_code": error.exit_code})
    else:
        print(f"signoff: {error}", file=sys.stderr)


def _options(args: Namespace, apps: tuple[str, ...], **more: Any) -> Options:
    from harness.run.options import Options

    return Options(args.root, args.cache, apps, quiet=args.json, baseline=args.baseline, **more)


def check_command(args: Namespace) -> int:
    """``signoff check``."""
    from harness.run.check import check

    found = check(args.root, args.cache, args.baseline, tuple(args.app))
    if args.json:
        print_json({"apps": found.apps, "cases": found.cases, "warnings": found.warnings, "exit_code": 0})
        return 0
    for name, digest in found.apps.items():
        print(f"{name}: {found.cases[name]} cases, digest {digest[:12]}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    print("all files are valid")
    return 0


def gate_command(args: Namespace) -> int:
    """``signoff gate``."""
    from harness.run.pipeline import gate

    if args.parts and (args.only or args.skip):
        raise UsageError("--from takes what was measured; --only and --skip belong to the runs that measure")
    stages = {"only": tuple(args.only), "skip": tuple(args.skip), "parts": tuple(args.parts)}
    run = gate(_options(args, tuple(args.app), profile=args.profile, **stages))
    _, folder = run.ready
    if args.json:
        print_json(run.verdict | {"run": str(folder.path)})
    else:
        for warning in run.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print_verdict(run.verdict)
        print(f"report: {folder.path / 'report.html'}")
    return int(run.verdict["exit_code"])


def measure_command(args: Namespace) -> int:
    """``signoff measure``."""
    return measured(_options(args, tuple(args.app), profile=args.profile, only=tuple(args.stages)), as_json=args.json)


def measured(options: Options, *, as_json: bool) -> int:
    """Measure the stages that ``options`` names, print what each did, and return 0, or 3 when one broke."""
    from harness.run.pipeline import measure_only

    return print_measured(measure_only(options), as_json=as_json)


def print_measured(run: GateRun, *, as_json: bool) -> int:
    """Print what each stage of a run without a verdict did, and return 0, or 3 when one broke."""
    from harness.run.evaluate import summarise
    from harness.spec.measurement import read_measurements

    _, folder = run.ready
    rows = (row for file in sorted(folder.path.glob("measurements/*.jsonl")) for row in read_measurements(file))
    table = summarise(rows)
    code = EXIT_ERROR if any(stage.broken for stage in run.stages) else 0
    if as_json:
        stages = [stage.as_dict() for stage in run.stages]
        print_json({"run": str(folder.path), "stages": stages, "metrics": table, "exit_code": code})
        return code
    for row in table:
        _print_metric(row, f"{row['app']}/{row['metric']} {row['variant']}")
    for stage in run.stages:
        note = f": {stage.broken or stage.skipped}" if stage.status != "ok" else ""
        print(f"{stage.name}: {stage.status}, {stage.rows} rows, {stage.seconds:.1f} s{note}")
        for line in stage.found:
            print(f"  - {line}")
    print(f"nothing is decided here; run folder: {folder.path}")
    return code


def print_verdict(verdict: dict[str, Any]) -> None:
    """The verdict as a person reads it in a terminal."""
    for gate in verdict["gates"]:
        mark = MARKS[gate["verdict"]] + ("" if gate["required"] else " (advisory)")
        print(f"{mark:<24} {gate['app']}/{gate['id']}: {gate['reason']}")
    print()
    print(
        f"{MARKS[verdict['verdict']]}  {verdict['model_calls']} model calls, "
        f"{verdict['cached_calls']} cached, {verdict['wall_s']:.1f} s"
    )
    for reason in verdict["reasons"][:3]:
        print(f"  - {reason}")
    print(f"next: {verdict['next_action']}")


def _print_metric(row: dict[str, Any], name: str) -> None:
    mean = "-" if row["mean"] is None else f"{row['mean']:.4g}"
    print(f"{name:<32} {mean:>10}  n={row['n']}  unscored={row['unscored']}  errors={row['errors']}")


def eval_command(args: Namespace) -> int:
    """``signoff eval``."""
    from harness.run.evaluate import evaluate

    result = evaluate(_options(args, (args.app,), variants=(args.variant,)))
    if args.json:
        print_json(result)
    else:
        for row in result["metrics"]:
            _print_metric(row, row["metric"])
        print(f"{result['model_calls']} model calls, {result['cached_calls']} cached; run folder: {result['run']}")
    return int(result["exit_code"])


def report_command(args: Namespace) -> int:
    """``signoff report``."""
    from harness.report import write_reports
    from harness.store import open_run

    run = open_run(args.run, args.root / "reports")
    written = write_reports(run.path, run.manifest, run.read_json("verdict.json"))
    if args.json:
        print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            print(path)
    return 0


def approve_command(args: Namespace) -> int:
    """``signoff approve``."""
    from dataclasses import asdict
    from datetime import UTC, date, datetime

    from harness.gate import approve
    from harness.run.pipeline import APPROVALS
    from harness.store import open_run

    try:
        expires = date.fromisoformat(args.expires)
    except ValueError as error:
        message = f"--expires is {args.expires!r}; give a date as 2027-01-31"
        raise UsageError(message) from error
    run = open_run(args.run, args.root / "reports")
    path = args.root / APPROVALS
    today = datetime.now(UTC).date()
    approval = approve(run.path, path, name=args.name, note=args.note, expires=expires, today=today)
    if args.json:
        print_json(asdict(approval))
    else:
        print(f"approved by {args.name} until {expires}; commit {path} and run signoff gate again")
    return 0


def demo_command(args: Namespace) -> int:
    """``signoff demo``."""
    from harness.run.demo import demo

    return demo(args.cache, open_report=not args.no_open, as_json=args.json)
