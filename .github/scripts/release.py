"""Gate the tagged commit against the release before it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobs import signoff, summary


def main() -> int:
    """The exit code of ``signoff gate --profile release``."""
    before = previous()
    chosen = ["--baseline", before] if before else []
    code = signoff("gate", "--profile", "release", *chosen).returncode
    written = Path("reports/latest/summary.md")
    if written.is_file():
        summary(written.read_text(encoding="utf-8"))
    return code


def previous() -> str:
    """The newest tag v* before this commit; empty for the first release."""
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    raise SystemExit(main())
