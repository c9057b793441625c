"""The action's one step: run the gate in the caller's repository, tell GitHub, end as the gate ended."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from jobs import baseline, outputs, signoff, summary


def main() -> int:
    """The exit code of ``signoff gate``."""
    named = os.environ.get("BASELINE", "")
    chosen = ["--baseline", named] if named else baseline()
    apps = [option for app in os.environ.get("APPS", "").split() for option in ("--app", app)]
    code = signoff("gate", "--profile", os.environ.get("PROFILE", "pr"), *apps, *chosen).returncode
    folder, verdict = Path("reports/latest"), ""
    if (folder / "verdict.json").is_file():
        from harness.report.annotations import render_annotations

        verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["verdict"]
        summary((folder / "summary.md").read_text(encoding="utf-8"))
        print(render_annotations(folder), end="")
    outputs({"verdict": verdict, "exit-code": str(code)})
    return code


if __name__ == "__main__":
    raise SystemExit(main())
