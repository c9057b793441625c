"""Install what a job needs: ``environment.py all`` for extras, ``environment.py nox`` for nox alone.

With SIGNOFF_ENVIRONMENT=ready nothing is installed: the running Python has everything already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(wanted: list[str]) -> int:
    """Install and return pip's exit code."""
    if os.environ.get("SIGNOFF_ENVIRONMENT") == "ready":
        print(f"environment: {sys.executable} is ready")
        return 0
    pinned = ["-c", "constraints.txt"] if Path("constraints.txt").is_file() else []
    extras = ",".join(name for name in wanted if name != "nox")
    what = ["nox"] if wanted == ["nox"] else ["-e", f".[{extras}]" if extras else "."]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned, *what]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
