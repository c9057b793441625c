"""Sessions of Signoff. The heavy ones share one environment, stamped with the lock that filled it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2"
nox.options.sessions = ["gate"]
nox.options.error_on_external_run = False

ROOT = Path(__file__).parent
HOME = ROOT / ".nox" / "shared"
BIN = HOME / ("Scripts" if os.name == "nt" else "bin")
PYTHON = str(BIN / "python")
# The suites declare every stage, so the gate needs what any of them runs on.
REQUIREMENTS = ["-e", ".[all]", "--group", "dev"]
ENV = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def stamp() -> str:
    """What the environment was made from: a matching stamp skips pip."""
    parts = [sys.version, *REQUIREMENTS]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def environment(session: nox.Session) -> None:
    """Make or reuse the shared environment."""
    marker = HOME / "signoff-stamp"
    if marker.is_file() and marker.read_text(encoding="utf-8") == stamp():
        return
    marker.unlink(missing_ok=True)
    if not Path(PYTHON).exists():
        session.run(sys.executable, "-m", "venv", str(HOME), external=True)
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    session.run(*pip, "--upgrade", "pip>=25.1", external=True)
    session.run(*pip, "-c", "constraints.txt", *REQUIREMENTS, external=True)
    marker.write_text(stamp(), encoding="utf-8")


def run(session: nox.Session, *command: str, success: tuple[int, ...] = (0,)) -> None:
    """Run a command of the shared environment."""
    environment(session)
    session.run(*command, env=ENV, external=True, success_codes=list(success))


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Measure everything that the change affects, decide, report."""
    run(session, str(BIN / "signoff"), "gate", *session.posargs)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The fast tests, the linter and the type checker."""
    run(session, str(BIN / "ruff"), "check", ".")
    run(session, str(BIN / "ruff"), "format", "--check", ".")
    run(session, str(BIN / "mypy"))
    # A file's tests stay together: many share a server.
    run(session, PYTHON, "-m", "pytest", "-n", "2", "--dist", "loadfile", *session.posargs)


@nox.session(venv_backend="none")
def data(session: nox.Session) -> None:
    """Build the marts and hold the suites against them; nothing is decided."""
    run(session, str(BIN / "signoff"), "measure", "data", *session.posargs)


@nox.session(venv_backend="none")
def finetune(session: nox.Session) -> None:
    """Build the marts and the adapters whose inputs changed."""
    run(session, str(BIN / "signoff"), "data", "build")
    run(session, str(BIN / "signoff"), "finetune", *session.posargs)


@nox.session(venv_backend="none")
def regression(session: nox.Session) -> None:
    """The regression suites through pytest."""
    run(session, PYTHON, "-m", "pytest", "suites", "-m", "", *session.posargs)


@nox.session(venv_backend="none")
def evals(session: nox.Session) -> None:
    """Measure what models grade; nothing is decided."""
    run(session, str(BIN / "signoff"), "measure", "evals", *session.posargs)


@nox.session(venv_backend="none")
def load(session: nox.Session) -> None:
    """Put the apps under the load of their profiles; nothing is decided."""
    run(session, str(BIN / "signoff"), "load", *session.posargs)


@nox.session(venv_backend="none")
def safety(session: nox.Session) -> None:
    """Attack the apps with their probes; nothing is decided."""
    run(session, str(BIN / "signoff"), "measure", "safety", *session.posargs)


@nox.session(venv_backend="none")
def promptfoo(session: nox.Session) -> None:
    """The real promptfoo asks the served apps and judges them; nothing is decided."""
    run(session, str(BIN / "signoff"), "measure", "promptfoo", "--profile", "nightly", *session.posargs)


@nox.session(venv_backend="none")
def serve(session: nox.Session) -> None:
    """Serve the apps on loopback."""
    run(session, str(BIN / "signoff"), "serve", *session.posargs)


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Render the newest run's report again."""
    run(session, str(BIN / "signoff"), "report", *(session.posargs or ["latest"]))


@nox.session(venv_backend="none")
def nightly(session: nox.Session) -> None:
    """Everything: marts, adapters, the gate against the last release, slow, peer and browser tests, benchmarks."""
    tags = subprocess.run(["git", "tag", "--list", "v*"], capture_output=True, text=True, check=False).stdout.split()
    commands: list[list[str]] = [
        [str(BIN / "signoff"), "data", "build"],
        [str(BIN / "signoff"), "adapters", "verify"],
        [str(BIN / "signoff"), "gate", "--profile", "nightly", *(["--baseline", "release"] if tags else [])],
        [PYTHON, "-m", "pytest", "-m", "slow or peer or browser or network"],
        [PYTHON, "benchmarks/gate_simulation.py"],
        [PYTHON, "benchmarks/overhead.py"],
        [PYTHON, "benchmarks/contamination.py"],
        [PYTHON, "benchmarks/tuning.py", "--steps", "30", "--rounds", "1"],
    ]
    failed = []
    for command in commands:
        try:
            run(session, *command)
        except CommandFailed:
            # One night tells everything that is wrong, not only what came first.
            failed.append(" ".join(command[1:3]))
    if failed:
        session.error(f"failed: {'; '.join(failed)}")
