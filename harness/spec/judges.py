"""Judges: checks that ask a model, with the prompt versions they ask it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness.errors import Problem
from harness.spec.base import Semver, Slug, Spec
from harness.spec.yaml_file import load


class Judge(Spec):
    """``suites/<app>/judges/<name>/judge.yaml``; ``prompt`` is the version of the prompty file beside it that asks.

    ``yes_no`` scores the probability of yes among yes and no, ``rubric`` the expectation over ``scores``, ``pairwise``
    how often the candidate is preferred, asked in both orders.
    """

    name: Slug
    kind: Literal["yes_no", "rubric", "pairwise"]
    prompt: Semver
    model: Slug
    scores: tuple[int, ...] = Field(default=(1, 2, 3, 4, 5), min_length=2)
    description: str = ""


@dataclass(frozen=True, slots=True)
class JudgeFiles:
    """A judge with its prompt's text."""

    judge: Judge
    folder: Path


def load_judges(folder: Path, root: Path) -> tuple[Mapping[str, JudgeFiles], list[Problem]]:
    """The judges of the suite in ``folder`` by name, and every problem of their files."""
    found: dict[str, JudgeFiles] = {}
    problems: list[Problem] = []
    for file in sorted(folder.glob("judges/*/judge.yaml")):
        judge, wrong = load(file, file.relative_to(root).as_posix(), Judge)
        problems += wrong
        if judge is not None:
            found[judge.name] = JudgeFiles(judge, file.parent)
    return found, problems
