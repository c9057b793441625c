"""The last look at the running app, as a stage of a run: what people should know before they change what is running."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.monitor import STAGE
from harness.run.stages.record import StageReport
from harness.store import open_run

_WORDS = {"breached": "promise not kept", "drifted": "traffic drifted"}


def last_watch(reports: Path, apps: Collection[str]) -> StageReport | None:
    """What ``reports/monitor/latest`` found of these apps; None when nobody looked, or the folder is not whole.

    It never decides: traffic is not of the change's making.
    """
    try:
        found = open_run("latest", reports / "monitor").read_json("monitor.json")
    except UsageError:
        return None
    watched = {name: entry for name, entry in found["apps"].items() if name in apps}
    if not watched:
        return None
    report = StageReport(STAGE, rows=found["rows"], apps={name: {} for name in watched})
    report.found = [f"{text} (seen {_day(found)})" for name, entry in watched.items() for text in _against(name, entry)]
    return report


def _against(app: str, entry: Mapping[str, Any]) -> Iterator[str]:
    answers = [each for each in (*entry["drift"], *entry["indicators"]) if each["answer"] in _WORDS]
    for each in sorted(answers, key=lambda one: not one["required"]):
        told = each.get("told") or each["reason"]
        yield f"{app}: {_WORDS[each['answer']]}: {each['id'].removeprefix('drift-')}: {told}"


def _day(found: Mapping[str, Any]) -> str:
    return f"{datetime.fromisoformat(found['now']):%Y-%m-%d %H:%M}"
