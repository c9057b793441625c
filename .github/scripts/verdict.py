"""The one required job: put together what the others left, decide, and be red for whatever is missing.

NEEDS holds the results of the jobs as JSON. In ``reports/ci/`` lie the plan, ``affected.json``, and the folders of the
stages, ``parts/part-<stage>/``; ``verdict/`` (the run folder) and ``comment/comment.json`` are written beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import OUT, PLAN, baseline, keep, signoff, summary

from harness.report.annotations import render_annotations
from harness.report.comment import bare, broken, markdown

PARTS, REPORT, COMMENT = OUT / "parts", OUT / "verdict", OUT / "comment/comment.json"
WORDS = {"failure": "failed", "cancelled": "was cancelled", "skipped": "was skipped although it was needed"}
BROKEN = 3
LOOK = "look at the job that is named first, and run it again"


def main() -> int:
    """0 only when every job did its work and every required gate of every affected app passed or was approved."""
    plan = json.loads(PLAN.read_text(encoding="utf-8")) if PLAN.is_file() else None
    needs = json.loads(os.environ["NEEDS"])
    lost = [*lost_jobs(needs, plan), *lost_parts(plan)]
    code = 0
    if plan is not None and plan["any"]:
        code = decide(plan)
    told = brief(plan, code, lost, unbuilt(needs.get("adapters", {})) or LOOK)
    COMMENT.parent.mkdir(parents=True, exist_ok=True)
    COMMENT.write_text(json.dumps(told), encoding="utf-8")
    summary(markdown(told))
    for reason in lost:
        print(f"::error title=Signoff::{reason}")
    print(markdown(told))
    return code or (BROKEN if lost else 0)


def lost_jobs(needs: Mapping[str, Any], plan: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with the jobs before this one; a job may be skipped only where the plan asks nothing of it."""
    idle = plan is not None and not plan["jobs"]
    return [
        f"job {name} {WORDS.get(need['result'], need['result'])}{': ' * bool(unbuilt(need))}{unbuilt(need)}"
        for name, need in needs.items()
        if need["result"] != "success" and not (name == "measure" and need["result"] == "skipped" and idle)
    ]


def unbuilt(need: Mapping[str, Any]) -> str:
    """What the job ``adapters`` asks somebody to do; empty for the other jobs."""
    return str((need.get("outputs") or {}).get("told") or "")


def lost_parts(plan: Mapping[str, Any] | None) -> list[str]:
    """The stages of the plan that left no whole folder."""
    if plan is None:
        return ["job check left no affected.json, so nobody knows what had to be measured"]
    return [
        f"stage {job['stage']} left {'a folder that was cut off' if part(job['stage']).is_dir() else 'no folder'}"
        for job in plan["jobs"]
        if not (part(job["stage"]) / "run.json").is_file()
    ]


def part(stage: str) -> Path:
    """Where the folder of a stage lies."""
    return PARTS / f"part-{stage}"


def decide(plan: Mapping[str, Any]) -> int:
    """Run the gate over the folders that are whole; its exit code."""
    whole = [str(part(job["stage"])) for job in plan["jobs"] if (part(job["stage"]) / "run.json").is_file()]
    if not whole:
        return BROKEN
    # A deleted app is judged with all that are left: naming some would leave it out.
    apps = [] if plan["removed"] else [option for app in plan["affected"] for option in ("--app", app)]
    profile = os.environ.get("PROFILE", "pr")
    parts = [option for folder in whole for option in ("--from", folder)]
    code = signoff("gate", *apps, *baseline(), "--profile", profile, *parts).returncode
    latest = Path("reports/latest")
    if (latest / "verdict.json").is_file():
        keep(latest, REPORT)
        print(render_annotations(REPORT), end="")
    return code


def brief(plan: Mapping[str, Any] | None, code: int, lost: list[str], action: str) -> dict[str, Any]:
    """What the pull request is told: the gate's own words, or why there are none; ``action`` mends what was lost."""
    written = REPORT / "comment.json"
    told = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
    if lost:
        red = broken(lost[0], action)
        reasons = [*(reason[:300] for reason in lost), *(told["reasons"] if told else [])][:3]
        # A verdict that failed is no less red for a job that broke as well.
        if told and told["verdict"] == "fail":
            return told | {"reasons": reasons}
        return (told or {}) | red | {"reasons": reasons, "cases": told["cases"] if told else []}
    if told is not None:
        return told
    if code:
        return broken(f"signoff gate ended with exit code {code} before it came to a verdict", "read the job's log")
    names = ", ".join(plan["apps"]) if plan else ""
    return bare(
        "pass",
        "every app and its yardstick are those of the baseline, byte for byte",
        "merge",
        facts="no model was asked",
        changed=f"nothing that decides what {names} answer, or how they are measured",
    )


if __name__ == "__main__":
    raise SystemExit(main())
