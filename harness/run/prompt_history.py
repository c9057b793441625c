"""The history of a prompt: who introduced each version, which apps use it, and what gates said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.run.prompt_versions import Version, versions_of
from harness.spec.apps import LlmStep
from harness.spec.git import git
from harness.spec.repository import Repository, load_repository
from harness.store import open_run

_GATE = (
    "id", "metric", "step", "slice", "rule", "threshold", "required", "n", "estimate", "low", "high", "confidence",
    "baseline", "candidate", "verdict", "reason",
)  # fmt: skip
_MARK = "\x01"


@dataclass(frozen=True, slots=True)
class Introduced:
    """The commit that brought a version; ``date`` is ISO 8601."""

    commit: str
    date: str
    author: str

    def as_dict(self) -> dict[str, str]:
        """The record as plain data."""
        return {"commit": self.commit, "date": self.date, "author": self.author}


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest run in which an app's candidate had the version, with its gates for that app.

    ``runs`` counts all such runs.
    """

    app: str
    run: str
    started: str
    commit: str
    dirty: bool
    verdict: str
    runs: int
    gates: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"gates": list(self.gates)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. ``introduced`` is None for a file that no commit holds; ``uses`` are (app, step, branch)."""

    version: Version
    introduced: Introduced | None
    uses: tuple[tuple[str, str, str], ...]
    measured: tuple[Measured, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry as plain data."""
        prompt = self.version.prompt
        return {
            "version": self.version.number,
            "prompt": prompt.key,
            "path": prompt.path,
            "digest": prompt.digest,
            "description": prompt.front.description,
            "changes": prompt.front.metadata.changes,
            "authors": list(prompt.front.metadata.authors),
            "introduced": self.introduced.as_dict() if self.introduced else None,
            "uses": [{"app": app, "step": step, "branch": branch} for app, step, branch in self.uses],
            "measured": [found.as_dict() for found in self.measured],
        }


@dataclass(frozen=True, slots=True)
class History:
    """All versions of a prompt, newest first. ``shallow``: the clone lacks the older commits."""

    stem: str
    entries: tuple[Entry, ...]
    shallow: bool


def history(root: Path, stem: str) -> History:
    """The history of the prompt ``<app>/<step>``; UsageError for an unknown prompt and for invalid files."""
    versions = versions_of(root, stem)
    repository = load_repository(root, with_suites=False)
    commits, runs = _introductions(root, stem), _runs(root / "reports")
    entries = tuple(
        Entry(
            version,
            commits.get(version.file.name),
            _uses(repository, version.prompt.key),
            _measured(runs, version.prompt.digest),
        )
        for version in versions
    )
    return History(stem, entries, git(root, "rev-parse", "--is-shallow-repository", check=False) == "true")


def _introductions(root: Path, stem: str) -> dict[str, Introduced]:
    """File name to the first commit that added it."""
    told = git(
        root, "log", "--diff-filter=A", "--no-renames", "--name-only", f"--format={_MARK}%H%x00%aI%x00%aN",
        "--", f"prompts/{stem}", check=False,
    )  # fmt: skip
    found: dict[str, Introduced] = {}
    for block in (told or "").split(_MARK)[1:]:
        head, *names = block.split("\n")
        commit, date, author = head.split("\0")
        # Newest first: a file that was deleted and added again keeps the commit that came first.
        found |= {name.rsplit("/", 1)[-1]: Introduced(commit, date, author) for name in names if name}
    return found


def _uses(repository: Repository, key: str) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (app, step.id, branch)
        for app, files in repository.apps.items()
        for step in files.app.steps
        if isinstance(step, LlmStep)
        for branch in ([b.name for b in step.branches if b.prompt == key] or ([""] if key in step.prompts else []))
    )


Run = tuple[Mapping[str, Any], Mapping[str, Any]]


def _runs(reports: Path) -> list[Run]:
    """Manifest and verdict of every run that came to a verdict, newest first."""
    found: list[Run] = []
    folders = (
        [path for path in reports.iterdir() if path.is_dir() and not path.is_symlink()] if reports.is_dir() else []
    )
    for path in folders:
        try:
            run = open_run(path.name, reports)
            found.append((run.manifest, run.read_json("verdict.json")))
        except UsageError:
            # Cut off, or without a verdict as those of signoff eval: nothing was decided with it.
            continue
    return sorted(found, key=lambda run: (str(run[0].get("started")), str(run[0].get("run_id"))), reverse=True)


def _measured(runs: Sequence[Run], digest: str) -> tuple[Measured, ...]:
    by_app: dict[str, list[Run]] = {}
    for manifest, verdict in runs:
        for app, known in (manifest.get("apps") or {}).items():
            if digest in (known.get("prompts") or {}).values():
                by_app.setdefault(app, []).append((manifest, verdict))
    return tuple(_result(app, listed) for app, listed in sorted(by_app.items()))


def _result(app: str, runs: Sequence[Run]) -> Measured:
    manifest, verdict = runs[0]
    return Measured(
        app=app,
        run=str(manifest.get("run_id", "")),
        started=str(manifest.get("started", "")),
        commit=str(manifest.get("commit", "")),
        dirty=bool(manifest.get("dirty")),
        verdict=str(verdict.get("verdict", "")),
        runs=len(runs),
        gates=tuple(
            {name: gate.get(name) for name in _GATE} for gate in verdict.get("gates") or () if gate.get("app") == app
        ),
    )
