"""The repository: whether its files can be read, and whether git can say what the baseline is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.run.doctor.finding import Finding, Level
from harness.spec.git import find_baseline, git
from harness.spec.repository import Repository, load_repository

_SHOWN = 3


def read(root: Path) -> tuple[Repository | None, list[Finding]]:
    """The repository, None when its files are wrong, and what is to be said of the files."""
    try:
        repository = load_repository(root)
    except UsageError as error:
        shown = "; ".join(map(str, error.problems[:_SHOWN])) or str(error)
        more = f" and {len(error.problems) - _SHOWN} more" if len(error.problems) > _SHOWN else ""
        return None, [_finding("files", "problem", shown + more, "mend them: signoff check lists all, with lines")]
    cases = sum(len(file) for suite in repository.suites.values() for file in suite.case_files)
    found = f"{_count(len(repository.apps), 'app')}, {_count(cases, 'case')}"
    findings = [_finding("files", "ok", found)]
    ungated = sorted(name for name, suite in repository.suites.items() if not any(g.required for g in suite.gates))
    if ungated:
        do = "nothing can fail there; write a gate into suites/<app>/gates.yaml"
        findings.append(_finding("gates", "warning", f"no required gate in {', '.join(ungated)}", do))
    return repository, findings


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _finding(name: str, level: Level, found: str, do: str = "") -> Finding:
    return Finding("repository", name, level, found, "" if level == "ok" else do)


def history(root: Path) -> Iterator[Finding]:
    """What git says."""
    if git(root, "--version", check=False) is None:
        yield _finding(
            "git", "warning", "not installed", "without it there is no baseline: gates that compare say nothing"
        )
        return
    if git(root, "rev-parse", "--is-inside-work-tree", check=False) != "true":
        do = "git init && git add --all && git commit: without it there is no baseline to compare with"
        yield _finding("git", "warning", f"{root} is in no git repository", do)
        return
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
    if head is None:
        yield _finding("git", "warning", "no commit yet", "commit: the first one is what the next is compared with")
    else:
        yield _finding("git", "ok", f"at {head[:12]}")
    shallow = git(root, "rev-parse", "--is-shallow-repository", check=False) == "true"
    do = "git fetch --unshallow; in GitHub Actions: actions/checkout with fetch-depth: 0"
    yield _finding("history", "warning" if shallow else "ok", "shallow" if shallow else "whole", do)
    yield from _baseline(root)
    yield from _tree(root)


def _baseline(root: Path) -> Iterator[Finding]:
    try:
        revision = find_baseline(root)
    except UsageError as error:
        found, _, do = str(error).partition("; ")
        yield _finding("baseline", "problem", found, do or "give one: signoff gate --baseline REF")
        return
    if revision.commit is None:
        yield _finding("baseline", "ok", f"none: {revision.reason}")
    else:
        yield _finding("baseline", "ok", f"{revision.commit[:12]} ({revision.reason})")
    names = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
    found = next((name for name in names if git(root, "rev-parse", "--verify", "--quiet", name, check=False)), "")
    do = "git remote set-head origin --auto, or call it main: the merge base with it is the baseline"
    yield _finding("default branch", "ok" if found else "warning", found or "not known", do)


def _tree(root: Path) -> Iterator[Finding]:
    ignored = git(root, "check-ignore", "--quiet", "reports/a-run/run.json", check=False) is not None
    do = "add 'reports/*' to .gitignore; run folders hold every answer and grow"
    yield _finding(
        "reports/", "ok" if ignored else "warning", "ignored by git" if ignored else "not ignored by git", do
    )
    untracked = git(
        root, "ls-files", "--others", "--exclude-standard", "--", "suites", "prompts", "models", check=False
    )
    count = len((untracked or "").splitlines())
    found = f"{_count(count, 'file')} of suites, prompts and models not committed" if count else "all committed"
    yield _finding(
        "versioned files", "warning" if count else "ok", found, "git add them: others measure what is committed"
    )
