"""``signoff prompts log|diff|compare``: the versions of a prompt, what they say and what they do."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.cli.commands import print_json
from harness.cli.parsing import Parser, command, group

if TYPE_CHECKING:
    from harness.run.compare import Comparison
    from harness.run.differences import Difference
    from harness.run.prompt_diff import TextDiff
    from harness.run.prompt_history import Entry, Measured

_COLOURS = {"+": "\x1b[32m", "-": "\x1b[31m", "@": "\x1b[36m"}


def add(sub: argparse._SubParsersAction[Parser]) -> None:
    """Put ``prompts`` and its three commands on the command line."""
    nested = group(
        sub,
        "prompts",
        "the versions of a prompt: history, text, and what they do",
        "signoff prompts log support/triage",
    )
    log = command(
        nested,
        "log",
        "who introduced each version, which apps use it, what gates said of it",
        "signoff prompts log support/triage",
        log_command,
    )
    _prompt(log)
    diff = command(
        nested,
        "diff",
        "what two versions say differently",
        "signoff prompts diff support/triage 1.0.0 1.1.0",
        diff_command,
    )
    compare = command(
        nested,
        "compare",
        "measure two versions against each other on the suite's cases",
        "signoff prompts compare support/triage 1.0.0 1.1.0 --app support",
        compare_command,
    )
    for added in (diff, compare):
        _prompt(added)
        added.add_argument("first", metavar="V1", help="a version, as 1.0.0")
        added.add_argument("second", metavar="V2", help="the version that is compared with it")
    compare.add_argument("--app", help="the app that is asked (default: the one that uses the prompt)")


def _prompt(added: argparse.ArgumentParser) -> None:
    added.add_argument("prompt", metavar="APP/STEP", help="the prompt: its folders below prompts/")


def log_command(args: Namespace) -> int:
    """``signoff prompts log``."""
    from harness.run.prompt_history import history

    found = history(args.root, args.prompt)
    if args.json:
        versions = [entry.as_dict() for entry in found.entries]
        print_json({"prompt": found.stem, "shallow": found.shallow, "versions": versions})
        return 0
    for entry in found.entries:
        _print_entry(entry)
    if found.shallow:
        print("warning: the clone is shallow; commits older than its end are not known", file=sys.stderr)
    return 0


def _print_entry(entry: Entry) -> None:
    from harness.report.visible import one_line

    prompt, commit = entry.version.prompt, entry.introduced
    when = f"{commit.date[:10]}  {commit.commit[:7]}  {one_line(commit.author, 60)}" if commit else "not committed"
    print(f"{entry.version.number}  {prompt.digest[:12]}  {when}")
    for text in (prompt.front.description, prompt.front.metadata.changes):
        if text:
            print(f"    {one_line(text, 200)}")
    users: dict[str, list[str]] = {}
    for app, step, branch in entry.uses:
        users.setdefault(f"{app}, step {step}", []).extend([branch] if branch else [])
    told = [user + (f" ({', '.join(branches)})" if branches else "") for user, branches in users.items()]
    print(f"    used by: {'; '.join(told) or 'no app'}")
    for result in entry.measured:
        _print_result(result)
    if not entry.measured:
        print("    no run in reports/ has measured it")


def _print_result(result: Measured) -> None:
    from harness.cli.commands import MARKS

    more = f", newest of {result.runs} runs" if result.runs > 1 else ""
    print(f"    {result.app}: {MARKS.get(result.verdict, result.verdict)} in run {result.run}{more}")
    for gate in result.gates:
        mark = MARKS.get(gate["verdict"], str(gate["verdict"])) + ("" if gate["required"] else " (advisory)")
        print(f"        {mark:<24} {gate['id']}: {_numbers(gate)}")


def _numbers(gate: Mapping[str, Any]) -> str:
    from harness.report.figures import PAIRED, plural

    if gate["estimate"] is None:
        return str(gate["reason"])
    estimate, low, high, first, second = (
        "?" if gate[name] is None else f"{gate[name]:.4g}"
        for name in ("estimate", "low", "high", "baseline", "candidate")
    )
    arms = f"{first} -> {second}, difference " if gate["rule"] in PAIRED else ""
    rule = f"{gate['rule'].replace('_', ' ')} {gate['threshold']:g}"
    return f"{arms}{estimate} [{low}, {high}] of {rule}, {plural(gate['n'], 'case')}"


def diff_command(args: Namespace) -> int:
    """``signoff prompts diff``."""
    from harness.run.prompt_diff import text_diffs
    from harness.run.prompt_versions import two_versions

    front, body = text_diffs(*two_versions(args.root, args.prompt, args.first, args.second))
    if args.json:
        versions = [args.first, args.second]
        print_json(
            {"prompt": args.prompt, "versions": versions, "front_matter": front.as_dict(), "body": body.as_dict()}
        )
        return 0
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for part in (front, body):
        _print_diff(part, colour=colour)
    return 0


def _print_diff(part: TextDiff, *, colour: bool) -> None:
    from harness.report.visible import as_text

    print(f"{part.part}: " + (f"{part.added} added, {part.removed} removed" if part.lines else "the same"))
    for line in part.lines:
        # A prompt of a pull request may hold what moves a terminal's cursor.
        shown, paint = as_text(line), _COLOURS.get(line[:1]) if colour else None
        print(f"{paint}{shown}\x1b[0m" if paint else shown)


def compare_command(args: Namespace) -> int:
    """``signoff prompts compare``."""
    from harness.run.compare import compare
    from harness.run.options import Options

    options = Options(args.root, args.cache, (args.app,) if args.app else (), quiet=args.json)
    found = compare(options, args.prompt, args.first, args.second)
    if args.json:
        print_json(found.as_dict() | {"exit_code": 0})
    else:
        _print_comparison(found)
    return 0


def _print_comparison(found: Comparison) -> None:
    first, second = found.versions
    print(f"{found.stem} {first} -> {second} in app {found.app}, step {', '.join(found.steps)}")
    if found.unruled:
        print(f"the rules of step {', '.join(found.unruled)} are set aside: each version answers every case")
    rows: list[tuple[str, ...]] = [("", first, second, "difference", "95 % confidence each way", "n", "changed")]
    rows += [_row(metric) for metric in found.metrics]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for metric in found.metrics:
        _print_worst(metric, found.versions)
    print(f"answers differ in {found.changed} of {found.cases} cases")
    print(f"{found.model_calls} model calls, {found.cached_calls} cached; this decides nothing, signoff gate does")


def _row(metric: Difference) -> tuple[str, ...]:
    from harness.report import figures

    name = metric.metric + (f" ({metric.step})" if metric.step else "")
    name += "" if metric.statistic == "mean" else f", {metric.statistic} quantile"
    bounds = (figures.difference(bound, metric.unit) for bound in (metric.low, metric.high))
    lost = [f"{count} {what}" for count, what in ((metric.errors, "errors"), (metric.unscored, "unscored")) if count]
    return (
        name,
        figures.value(metric.first, metric.unit),
        figures.value(metric.second, metric.unit),
        figures.difference(metric.difference, metric.unit),
        f"[{', '.join(bounds)}]",
        str(metric.n) + (f" ({', '.join(lost)})" if lost else ""),
        str(metric.changed),
    )


def _print_worst(metric: Difference, versions: tuple[str, str]) -> None:
    from harness.report import figures
    from harness.report.visible import one_line

    if not metric.worst:
        return
    print(f"{metric.metric}, worst of {figures.plural(metric.changed, 'changed case')} ({metric.better} is better):")
    for case in metric.worst:
        first, second = (figures.value(value, metric.unit) for value in (case.first, case.second))
        print(f"  {case.case}: {first} -> {second}")
        if case.first_output != case.second_output:
            texts: tuple[tuple[str, Any], ...] = ((versions[0], case.first_output), (versions[1], case.second_output))
            for version, text in texts:
                print(f"    {version}: {one_line(text, 160)}")
