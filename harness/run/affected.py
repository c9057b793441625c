"""``signoff affected``: what must be measured, and why, by digests and not by the names of changed files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run.options import Options
from harness.run.plan import Plan, make_plan
from harness.run.yardstick import Yardstick, compare_yardsticks
from harness.spec.git import Revision, git
from harness.spec.marts import MART
from harness.spec.stages import STAGES

LOCKS = ("constraints.txt", "uv.lock", "poetry.lock", "pdm.lock", "requirements.txt", "pyproject.toml")
"""Files that say what else runs; a change of one is *runtime moved* and touches every app."""
HARNESS = "harness"
DATA = "data"
NAMED = 3


@dataclass(frozen=True, slots=True)
class AppState:
    """Whether one app must be measured. ``because`` is empty for one that need not; ``stages`` are those of its suite.

    A change of a mart alone touches the stage ``data`` and nothing else. ``pinned`` is false for an app of which
    nothing proves what answers: equal digests then prove less.
    """

    name: str
    because: tuple[str, ...]
    stages: tuple[str, ...]
    pinned: bool

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {
            "affected": bool(self.because),
            "because": list(self.because),
            "stages": list(self.stages) if self.because else [],
            "pinned": self.pinned,
        }


@dataclass(frozen=True, slots=True)
class Affected:
    """What a change since ``revision`` touches."""

    revision: Revision
    apps: tuple[AppState, ...]
    removed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The apps that must be measured."""
        return tuple(app.name for app in self.apps if app.because)

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """One job for each stage with the affected apps that declare something for it."""
        jobs = ((stage, [app.name for app in self.apps if app.because and stage in app.stages]) for stage in STAGES)
        return [{"stage": stage, "apps": names} for stage, names in jobs if names]

    def as_dict(self) -> dict[str, Any]:
        """The answer as plain data; ``jobs`` is the ``include`` of a matrix."""
        return {
            "baseline": self.revision.ref,
            "commit": self.revision.commit or "",
            "any": bool(self.names or self.removed),
            "affected": list(self.names),
            "removed": list(self.removed),
            "apps": {app.name: app.as_dict() for app in self.apps},
            "jobs": self.jobs,
        }


def affected(root: Path, cache: Path, since: str | None = None) -> Affected:
    """What must be measured since the merge base with ``since`` (default: as ``signoff gate`` chooses its baseline).

    UsageError for invalid files, versions that were edited in place, and an unknown ``since``.
    """
    options = Options(root, cache, baseline=since)
    plan = make_plan(options)
    yardstick = compare_yardsticks(plan)
    removed = tuple(move.app for move in yardstick.moves if move.kind == "app")
    # What is left is decided together: only a run over all apps sees that one is gone.
    everywhere = [*(f"app {name} was deleted" for name in removed), *_everywhere(root, plan.revision)]
    marts = _marts(root, plan)
    apps = []
    for name, files in plan.repository.apps.items():
        suite = plan.repository.suites[name]
        touched = (*_touching(plan, yardstick, name), *everywhere)
        stages = suite.due(options.profile) if touched else tuple(each for each in suite.stages if each == "data")
        apps.append(AppState(name, (*touched, *(marts if "data" in stages else ())), stages, files.pinned))
    return Affected(plan.revision, tuple(apps), removed)


def untouched(root: Path, plan: Plan, yardstick: Yardstick) -> frozenset[str]:
    """The apps for which a change makes nothing necessary but, where marts changed, the stage ``data``."""
    if _everywhere(root, plan.revision):
        return frozenset()
    return frozenset(name for name in plan.repository.apps if not _touching(plan, yardstick, name))


def _touching(plan: Plan, yardstick: Yardstick, name: str) -> Sequence[str]:
    return (*_because(plan, name), *_moved(yardstick, name))


def _because(plan: Plan, name: str) -> Sequence[str]:
    if name not in plan.baselines:
        return ["new app, no baseline"]
    if not plan.changed(name):
        return []
    return [line.removeprefix(f"{name}: ") for line in plan.changes(name)]


def _moved(yardstick: Yardstick, name: str) -> Sequence[str]:
    return [f"yardstick ({move.effect}): {move.what}" for move in yardstick.moves if move.app == name]


def _everywhere(root: Path, revision: Revision) -> Sequence[str]:
    """What touches every app: the harness itself, and the versions of what it runs on."""
    if revision.commit is None:
        return []
    found = _differing(root, revision.commit, (HARNESS, *LOCKS))
    code = [name for name in found if name.startswith(f"{HARNESS}/")]
    return [
        *(f"runtime moved: {name}" for name in found if name in LOCKS),
        *([f"harness code changed: {_listed(code)}"] if code else []),
    ]


def _marts(root: Path, plan: Plan) -> Sequence[str]:
    """The marts of which something differs that its rows are made from."""
    if plan.revision.commit is None:
        return []
    found: dict[str, list[str]] = {}
    for file in _differing(root, plan.revision.commit, (DATA,)):
        _, name, *rest = file.split("/")
        # What is told to people lies beside the mart, and other data may lie beside the marts.
        if rest and not (len(rest) == 1 and rest[0].endswith(".md")):
            found.setdefault(name, []).append("/".join(rest))
    return [
        f"mart {name} changed: {_listed(files)}"
        for name, files in found.items()
        if name in plan.repository.marts or MART in files
    ]


def _differing(root: Path, commit: str, names: Sequence[str]) -> list[str]:
    """Files under ``names`` whose bytes differ from the commit's, those that git does not follow yet among them."""
    told = git(root, "diff", "--name-only", "--relative", commit, "--", *names) or ""
    new = git(root, "ls-files", "--others", "--exclude-standard", "--", *names) or ""
    return sorted({*told.splitlines(), *new.splitlines()})


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
