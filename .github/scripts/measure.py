"""Measure one stage, STAGE, of some APPS for the gates of a PROFILE; the run folder lies in ``reports/ci/part/``."""

from __future__ import annotations

import os
from pathlib import Path

from jobs import OUT, baseline, keep, signoff


def main() -> int:
    """The exit code of ``signoff measure``; what it measured is kept also when it broke."""
    stage, apps = os.environ["STAGE"], os.environ["APPS"].split()
    profile = os.environ.get("PROFILE", "pr")
    chosen = [option for app in apps for option in ("--app", app)]
    latest = Path("reports/latest")
    before = latest.resolve()
    code = signoff("measure", stage, *chosen, *baseline(), "--profile", profile).returncode
    if latest.exists() and latest.resolve() != before:
        keep(latest, OUT / "part")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
