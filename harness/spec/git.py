"""The baseline: the app's files at the merge base, taken out of git."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from harness.errors import Problem, UsageError
from harness.spec.adapters import ADAPTERS, CARD, MANIFEST
from harness.spec.prompts import load_prompt
from harness.store import digest_file

APP_PATHS = ("suites", "prompts", "models")
# Approving a run must not choose another baseline, to which the approval would not be bound; neither must a change of
# who is served which variant.
_NO_PART_OF_AN_APP = (":(exclude)suites/approvals.jsonl", ":(exclude,glob)suites/*/traffic.yaml")


@dataclass(frozen=True, slots=True)
class Revision:
    """What the baseline is; ``commit`` is None when there is none (a first commit, or no git at all)."""

    ref: str
    commit: str | None
    reason: str


def git(root: Path, *args: str, check: bool = True) -> str | None:
    """Standard output of a git command, or None when it failed and ``check`` is false."""
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    if done.returncode != 0:
        if check:
            message = f"git {' '.join(args)} failed in {root}: {done.stderr.strip() or done.returncode}"
            raise UsageError(message)
        return None
    return done.stdout.strip()


def find_baseline(root: Path, ref: str | None = None) -> Revision:
    """The commit to compare with.

    With ``ref``: the merge base of HEAD and that ref (``release``: the last tag v*). Without: on a branch the merge
    base with the default branch; on the default branch HEAD while files are edited, else the first parent. A branch
    without a commit of its own is still a branch, a detached HEAD is not. Raises UsageError for an unknown ref
    and for a shallow clone that lacks the commit.
    """
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
    if head is None:
        return Revision(ref or "HEAD", None, "no commit yet: everything is new")
    if ref is not None:
        ref = _last_release(root) if ref == "release" else ref
        commit = git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
        if commit is None:
            raise _unknown(root, ref)
        return Revision(ref, _merge_base(root, commit, ref), f"merge base with {ref}")
    main = _default_branch(root)
    if (
        main
        and (tip := git(root, "rev-parse", f"{main}^{{commit}}", check=False))
        and (tip != head or _beside(root, main))
    ):
        return Revision(main, _merge_base(root, tip, main), f"merge base with {main}")
    if git(root, "status", "--porcelain", "--", *APP_PATHS, *_NO_PART_OF_AN_APP):
        return Revision("HEAD", head, "edited files on the default branch: compared with HEAD")
    parent = git(root, "rev-parse", "--verify", "--quiet", "HEAD^1^{commit}", check=False)
    if parent is None and _shallow(root):
        raise _unknown(root, "HEAD^1")
    return Revision("HEAD^1", parent, "first parent" if parent else "first commit: everything is new")


def _last_release(root: Path) -> str:
    tag = git(root, "describe", "--tags", "--abbrev=0", "--match", "v*", check=False)
    if tag is None:
        message = "--baseline release: no release yet (a tag v*); give a branch, tag or commit instead"
        raise UsageError(message)
    return tag


def _merge_base(root: Path, commit: str, ref: str) -> str:
    base = git(root, "merge-base", "HEAD", commit, check=False)
    if not base:
        raise _unknown(root, ref)
    return base


def _unknown(root: Path, ref: str) -> UsageError:
    if _shallow(root):
        return UsageError(
            f"the clone is shallow and lacks the merge base with {ref!r}; fetch the whole history "
            "(git fetch --unshallow, or in GitHub Actions: actions/checkout with fetch-depth: 0)"
        )
    return UsageError(
        f"no commit {ref!r} shares history with HEAD; give --baseline a branch, tag or commit of this repository"
    )


def _shallow(root: Path) -> bool:
    return git(root, "rev-parse", "--is-shallow-repository", check=False) == "true"


def _default_branch(root: Path) -> str | None:
    names = ["origin/HEAD", "origin/main", "origin/master", "main", "master"]
    return next((name for name in names if git(root, "rev-parse", "--verify", "--quiet", name, check=False)), None)


def _beside(root: Path, main: str) -> bool:
    """Whether a branch is checked out that is not the default one; on a bare commit nobody can say."""
    branch = git(root, "symbolic-ref", "--quiet", "--short", "HEAD", check=False)
    target = git(root, "rev-parse", "--abbrev-ref", main, check=False) or main
    return branch is not None and branch != target.removeprefix("origin/")


def extract(root: Path, commit: str, into: Path) -> Path:
    """Write the app files of ``commit`` below ``into``; cases and gates come along but are not used.

    Of a mart only ``mart.yaml`` comes along, which says that there is one: its rows may be many.
    """
    present = (git(root, "ls-tree", "--name-only", commit, *APP_PATHS) or "").split()
    marts = (git(root, "ls-tree", "-r", "--name-only", commit, "data") or "").splitlines()
    present += [name for name in marts if fnmatch(name, "data/*/mart.yaml") and name.count("/") == 2]
    into.mkdir(parents=True, exist_ok=True)
    if present:
        done = subprocess.run(
            ["git", "-C", str(root), "archive", "--format=tar", commit, "--", *present], capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(into, filter="data")
    return into


def edited_releases(root: Path, baseline: Path, commit: str) -> list[Problem]:
    """Versions that exist at the baseline and now have another content: prompts, judges' prompts, built adapters."""
    return [
        *_edited_prompts(root, baseline, commit),
        *_edited_judges(root, baseline, commit),
        *_edited_adapters(root, baseline, commit),
    ]


def _edited_judges(root: Path, baseline: Path, commit: str) -> list[Problem]:
    """Compared as text: of a judge's question every word counts, and its file may be older than today's rules."""
    problems = []
    for old in sorted(baseline.glob("suites/*/judges/*/*.prompty")):
        shown = old.relative_to(baseline).as_posix()
        if (root / shown).is_file() and _text(root / shown) != _text(old):
            problems.append(_edited(shown, commit, "the judge's prompt", "name the new version in judge.yaml"))
    return problems


def _edited_adapters(root: Path, baseline: Path, commit: str) -> list[Problem]:
    """A version is its whole folder but for the card; one that was deleted altogether is no edit."""
    problems = []
    for folder in sorted(path.parent for path in baseline.glob(f"{ADAPTERS}/*/*/{MANIFEST}")):
        place = folder.relative_to(baseline)
        if not (root / place).is_dir():
            continue
        before, after = _files(folder), _files(root / place)
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                word = "added to" if name not in before else "removed from" if name not in after else "changed in"
                message = (
                    f"{word} a built version in place ({folder.name} exists at {commit[:12]} with other content); "
                    f"build the change as a new version, and restore this one with "
                    f"'git checkout {commit[:12]} -- {place.as_posix()}'"
                )
                problems.append(Problem(f"{place.as_posix()}/{name}", None, message))
    return problems


def _files(folder: Path) -> dict[str, str]:
    return {
        name: digest_file(path)
        for path in folder.rglob("*")
        if path.is_file() and (name := path.relative_to(folder).as_posix()) != CARD
    }


def _text(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


def _edited(shown: str, commit: str, what: str, then: str) -> Problem:
    stem = shown.rsplit("/", 1)[-1].removesuffix(".prompty")
    major, minor, patch = stem.split(".") if stem.count(".") == 2 else (stem, "0", "0")
    free = f"{major}.{minor}.{int(patch) + 1}" if patch.isdigit() else f"{stem}-next"
    return Problem(
        shown,
        None,
        f"{what} edited in place ({stem} exists at {commit[:12]} with other content); save the change as "
        f"{free}.prompty with metadata.version {free}, restore this file with "
        f"'git checkout {commit[:12]} -- {shown}', and {then}",
    )


def _edited_prompts(root: Path, baseline: Path, commit: str) -> list[Problem]:
    problems = []
    for old in sorted(baseline.glob("prompts/*/*/*.prompty")):
        shown = old.relative_to(baseline).as_posix()
        new = root / shown
        before, _ = load_prompt(old, baseline)
        after = load_prompt(new, root)[0] if new.is_file() else None
        if before and after and before.digest != after.digest:
            problems.append(_edited(shown, commit, "released prompt", "name the new version in app.yaml"))
    return problems


def state(root: Path) -> dict[str, object]:
    """Commit and dirty flag for ``run.json``."""
    commit = git(root, "rev-parse", "HEAD", check=False)
    dirty = bool(git(root, "status", "--porcelain", check=False))
    return {"commit": commit or "", "dirty": dirty}
