"""``run.json``: what was run, on what, and how it went."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.run.changed_places import places
from harness.run.harness_code import harness_digest
from harness.run.options import Options
from harness.run.plan import Plan
from harness.run.stages.record import StageReport
from harness.run.yardstick import old_digests
from harness.spec.git import state
from harness.spec.repository import AppFiles, Repository
from harness.store import digest_file, digest_of

NOT_COVERED = "Messages unlike every case: the suite measures the cases it has, not the traffic you will get."
_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "aiohttp", "jinja2", "pydantic", "py3langid")


def manifest(
    options: Options, plan: Plan, stages: Sequence[StageReport], times: Mapping[str, Any], warnings: Sequence[str]
) -> dict[str, Any]:
    """The manifest of a finished run, without the digests of its files (the run folder adds those)."""
    return {
        "profile": options.profile,
        **times,
        **state(options.root),
        "baseline_ref": plan.revision.ref,
        "baseline_commit": plan.revision.commit or "",
        "baseline_reason": plan.revision.reason,
        "model_calls": sum(stage.model_calls for stage in stages),
        "cached_calls": sum(stage.cached_calls for stage in stages),
        "apps": {name: _app(plan, name) for name in plan.repository.apps},
        "changes": [line for name in plan.repository.apps for line in plan.changes(name) if plan.changed(name)],
        "versions": versions(),
        "machine": machine(),
        "seeds": {name: files.app.seed for name, files in plan.repository.apps.items()},
        "stages": [stage.as_dict() for stage in stages],
        "yardstick": yardstick_of(plan),
        "old_yardstick": old_digests(plan),
        "harness": harness_digest(),
        "marts": mart_files(plan.repository),
        "places": places(plan),
        "warnings": list(warnings),
        "not_covered": [NOT_COVERED],
    }


def yardstick_of(plan: Plan) -> dict[str, str]:
    """The digest of what measures each app: suite, gates and cases."""
    return {name: suite.digest for name, suite in plan.repository.suites.items()}


def mart_files(repository: Repository) -> dict[str, str]:
    """The digest of each mart's own files: parts that were measured on other rows are told by it."""
    return {name: digest_of(_files(repository.root / "data" / name)) for name in repository.marts}


def _files(folder: Path) -> list[list[str]]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in found}
    return [
        [name, digest_file(path)]
        for path, name in names.items()
        if not name.startswith((".", "build/")) and "__pycache__" not in name
    ]


def _app(plan: Plan, name: str) -> dict[str, Any]:
    files = plan.repository.apps[name]
    base = plan.baselines.get(name)
    return {
        "candidate": files.digest,
        "baseline": base.digest if base else None,
        "digests": dict(files.parts),
        "baseline_digests": dict(base.parts) if base else {},
        "prompts": prompt_digests(files),
        "baseline_prompts": prompt_digests(base) if base else {},
        "pinned": files.pinned,
        "changes": plan.changes(name),
    }


def prompt_digests(files: AppFiles) -> dict[str, str]:
    """Every prompt version that the app may use, with its digest."""
    return {key: files.prompts[key].digest for key in sorted(files.prompts)}


def versions() -> dict[str, str]:
    """Versions of Python, Signoff and what decides its numbers; a package that is not installed is left out."""
    found = {"python": platform.python_version(), "signoff": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine, as far as figures depend on it."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "executable": Path(sys.executable).name,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def iso(moment: float) -> str:
    """The moment as UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
