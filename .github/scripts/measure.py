"""Measure one stage of some apps and leave the run folder in ``part/``: STAGE and APPS name them, PROFILE the gates."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from jobs import baseline, signoff

PART = Path("part")


def main() -> int:
    """The exit code of ``signoff measure``; what it measured is kept also when it broke."""
    stage, apps = os.environ["STAGE"], os.environ["APPS"].split()
    profile = os.environ.get("PROFILE", "pr")
    chosen = [option for app in apps for option in ("--app", app)]
    code = signoff("measure", stage, *chosen, *baseline(), "--profile", profile).returncode
    latest = Path("reports/latest")
    if latest.exists():
        shutil.copytree(latest.resolve(), PART)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
