"""Check every file, then say what the change affects: two outputs, and the plan in ``reports/ci/affected.json``."""

from __future__ import annotations

import json
from typing import Any

from jobs import PLAN, baseline, complain, outputs, signoff, summary


def main() -> int:
    """The exit code of ``signoff check``, else of ``signoff affected``."""
    checked = signoff("check", *baseline(), "--json", capture=True)
    told = json.loads(checked.stdout)
    if checked.returncode:
        report_problems(told)
        return checked.returncode
    for warning in told["warnings"]:
        print(f"warning: {warning}")
    since = ["--since", baseline()[1]] if baseline() else []
    found = signoff("affected", *since, "--json", capture=True)
    if found.returncode:
        print(found.stdout)
        return found.returncode
    PLAN.parent.mkdir(parents=True, exist_ok=True)
    PLAN.write_text(found.stdout, encoding="utf-8")
    plan = json.loads(found.stdout)
    jobs = [{"stage": job["stage"], "apps": " ".join(job["apps"])} for job in plan["jobs"]]
    outputs({"measure": "true" if jobs else "false", "matrix": json.dumps({"include": jobs})})
    lines = [f"- **{name}**: {'; '.join(app['because'])}" for name, app in plan["apps"].items() if app["affected"]]
    summary("\n".join(["### What the change affects", "", *(lines or ["Nothing: no app needs to be measured."])]))
    return 0


def report_problems(told: dict[str, Any]) -> None:
    """Print each problem as a command that GitHub shows at its line."""
    print(told["error"])
    for problem in told["problems"]:
        complain("Signoff check", problem["message"], problem["path"], problem["line"])


if __name__ == "__main__":
    raise SystemExit(main())
