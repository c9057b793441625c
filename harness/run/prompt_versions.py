"""The versions of one prompt that a repository holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Problem, UsageError
from harness.spec.prompts import Prompt, load_prompt

_STEM = re.compile(r"[a-z0-9_-][a-z0-9_.-]*/[a-z0-9_-][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Version:
    """One file of ``prompts/<app>/<step>/``."""

    prompt: Prompt
    file: Path

    @property
    def number(self) -> str:
        """The version, as ``1.2.0``."""
        return self.prompt.front.metadata.version


def versions_of(root: Path, stem: str) -> tuple[Version, ...]:
    """All versions of the prompt ``stem`` (``<app>/<step>``), newest first; UsageError when there is none, or an
    invalid one."""
    folder = root / "prompts" / stem
    if not _STEM.fullmatch(stem) or not folder.is_dir():
        known = sorted({"/".join(path.parts[-3:-1]) for path in root.glob("prompts/*/*/*.prompty")})
        message = f"no prompt {stem!r}; give APP/STEP, one of: {', '.join(known) or 'none'}"
        raise UsageError(message)
    found: list[Version] = []
    problems: list[Problem] = []
    for file in folder.glob("*.prompty"):
        prompt, wrong = load_prompt(file, root)
        problems += wrong
        found += [Version(prompt, file)] if prompt else []
    if problems:
        raise UsageError.of(problems)
    if not found:
        message = f"{folder} holds no version; a version is a file like 1.0.0.prompty"
        raise UsageError(message)
    return tuple(sorted(found, key=lambda version: [int(part) for part in version.number.split(".")], reverse=True))


def two_versions(root: Path, stem: str, first: str, second: str) -> tuple[Version, Version]:
    """Two different versions of a prompt by their numbers; UsageError names what there is."""
    known = {version.number: version for version in versions_of(root, stem)}
    absent = [number for number in dict.fromkeys((first, second)) if number not in known]
    if absent:
        message = f"prompt {stem} has no version {' and no version '.join(absent)}; it has {', '.join(known)}"
        raise UsageError(message)
    if first == second:
        message = f"{first} is given twice; give two versions of {stem}: {', '.join(known)}"
        raise UsageError(message)
    return known[first], known[second]
