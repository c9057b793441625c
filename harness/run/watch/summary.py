"""Reports of monitoring and of experiments as Markdown: pure functions of their JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def summary(report: Mapping[str, Any]) -> str:
    """A page for people: the answer, the one next action, a table for each app."""
    lines = [f"# Monitoring: {report['answer']}", "", f"Next: {_plain(report['next_action'])}", ""]
    for name, app in report["apps"].items():
        traffic = app["traffic"]
        lines += [f"## {name}", "", f"{traffic['requests']} requests, {traffic['feedback']} feedbacks", ""]
        lines += [f"- {_plain(warning)}" for warning in app["warnings"]]
        lines += ["", "| | answer | found |", "|---|---|---|"]
        for each in (*app["indicators"], *app["drift"]):
            lines.append(f"| {each['id']} | {each['answer']} | {_plain(_found(each))} |")
        lines.append("")
    return "\n".join(lines)


def ab_summary(report: Mapping[str, Any]) -> str:
    """A page for people on an experiment."""
    lines = [f"# {report['app']}, experiment {report['experiment']}: {report['answer']}", ""]
    lines += [f"Next: {_plain(report['next_action'])}", ""]
    lines += ["Users: " + ", ".join(f"{arm} {count}" for arm, count in report["users"].items()), ""]
    lines += [f"- {_plain(text)}" for text in (*report["blocked"], *report["warnings"])]
    lines += ["", "| arm | outcome | answer | found |", "|---|---|---|---|"]
    lines += [
        f"| {each['arm']} | {each['id']} | {each['answer']} | {_plain(each['reason'])} |" for each in report["outcomes"]
    ]
    return "\n".join([*lines, ""])


def _found(each: Mapping[str, Any]) -> str:
    told = each.get("told")
    return f"{each['reason']}; {told}" if told and each["answer"] == "drifted" else str(each["reason"])


def _plain(text: str) -> str:
    # Names of bins come from traffic: they must not end a cell or start markup.
    for mark in "\\`*_<>[]|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def printed(report: Mapping[str, Any], key: str) -> Sequence[str]:
    """The answers of one kind as lines for a terminal."""
    return [
        f"{each['answer'].upper():<10} {name}/{each['id']}: {_found(each)}"
        for name, app in report["apps"].items()
        for each in app[key]
    ]
