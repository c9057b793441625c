"""Judges: checks that ask a model, with the prompts that they ask by and what people's labels say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from harness.errors import Problem
from harness.spec.base import Semver, Slug, Spec
from harness.spec.gates import Gate
from harness.spec.judge_cards import CARD, LABELS, Card, distrust, labels_digest, read_card, read_labels
from harness.spec.models import Model
from harness.spec.prompts import Prompt, load_prompt
from harness.spec.suites import CheckSpec, Suite
from harness.spec.yaml_file import load
from harness.store import digest_of

Kind = Literal["yes_no", "rubric", "pairwise"]
# What a judge's prompt may ask for; it has to show what is judged.
SHOWN: Mapping[Kind, frozenset[str]] = {
    "yes_no": frozenset({"output"}),
    "rubric": frozenset({"output"}),
    "pairwise": frozenset({"first", "second"}),
}
BESIDE = frozenset({"input", "expected", "context"})


class Judge(Spec):
    """``suites/<app>/judges/<name>/judge.yaml``; ``prompt`` is the version of the prompty file beside it that asks.

    ``yes_no`` scores the probability of yes among yes and no, ``rubric`` the expectation over ``scores``, ``pairwise``
    how often the candidate is preferred, asked in both orders. ``longest`` is how many characters of one value the
    judge reads: a longer one is not judged. ``answer_tokens`` bound what an endpoint may write, ``deadline_s`` is for
    one question with all its repetitions.
    """

    name: Slug
    kind: Kind
    prompt: Semver
    model: Slug
    # One digit is one token of every tokenizer: its log-probability is the score's.
    scores: tuple[Annotated[int, Field(ge=0, le=9)], ...] = Field(default=(1, 2, 3, 4, 5), min_length=2)
    longest: int = Field(default=12_000, ge=1)
    answer_tokens: int = Field(default=16, ge=1, le=4096)
    deadline_s: float = Field(default=120.0, gt=0)
    description: str = ""

    @field_validator("scores")
    @classmethod
    def _rising(cls, scores: tuple[int, ...]) -> tuple[int, ...]:
        if list(scores) != sorted(set(scores)):
            message = f"scores {list(scores)} must rise, each once"
            raise ValueError(message)
        return scores

    @property
    def answers(self) -> tuple[str, ...]:
        """The words that the judge chooses from."""
        fixed: Mapping[str, tuple[str, ...]] = {"yes_no": ("Yes", "No"), "pairwise": ("A", "B")}
        return fixed.get(self.kind) or tuple(map(str, self.scores))

    @property
    def labels(self) -> tuple[str, ...]:
        """The words that people label by, the worst first."""
        fixed: Mapping[str, tuple[str, ...]] = {"yes_no": ("no", "yes"), "pairwise": ("second", "tie", "first")}
        return fixed.get(self.kind) or tuple(map(str, self.scores))


@dataclass(frozen=True)
class JudgeFiles:
    """A judge with the prompt and the model that it asks by, and its card if it has one."""

    judge: Judge
    folder: Path
    prompt: Prompt
    model: Model
    card: Card | None = None

    @cached_property
    def digest(self) -> str:
        """The judge's identity: kind, prompt, model and whatever else decides a score."""
        judge = self.judge
        settings = {"answers": judge.answers, "longest": judge.longest, "answer_tokens": judge.answer_tokens}
        return digest_of(
            {"kind": judge.kind, "prompt": self.prompt.digest, "model": self.model.digest, "settings": settings}
        )

    @property
    def distrust(self) -> str:
        """Why no gate may rest on this judge; empty when people's labels have shown that it may."""
        return distrust(self.card, self.digest, labels_digest(self.folder))


def load_judges(
    folder: Path, root: Path, models: Mapping[str, Model]
) -> tuple[Mapping[str, JudgeFiles], list[Problem]]:
    """The judges of the suite in ``folder`` by name, and every problem of their files."""
    found: dict[str, JudgeFiles] = {}
    problems: list[Problem] = []
    for file in sorted(folder.glob("judges/*/judge.yaml")):
        shown = file.relative_to(root).as_posix()
        judge, wrong = load(file, shown, Judge)
        problems += wrong
        if judge is None:
            continue
        prompt, wrong = _prompt(judge, file, root)
        model = models.get(judge.model)
        wrong += [Problem(shown, 1, text) for text in _misfits(judge, file, model, models)]
        card, more = read_card(file.parent / CARD, root)
        _, unfit = read_labels(file.parent, root, judge.labels)
        problems += wrong + more + unfit
        if prompt is not None and model is not None:
            found[judge.name] = JudgeFiles(judge, file.parent, prompt, model, card)
    return found, problems


def _prompt(judge: Judge, file: Path, root: Path) -> tuple[Prompt | None, list[Problem]]:
    path = file.parent / f"{judge.prompt}.prompty"
    if not path.is_file():
        there = ", ".join(sorted(each.name for each in file.parent.glob("*.prompty"))) or "none"
        wrong = f"prompt {judge.prompt!r}: no {path.name} beside judge.yaml; there are: {there}"
        return None, [Problem(file.relative_to(root).as_posix(), 1, wrong)]
    prompt, problems = load_prompt(path, root)
    if prompt is not None:
        shown, declared = SHOWN[judge.kind], set(prompt.front.inputs)
        strange, absent = sorted(declared - shown - BESIDE), sorted(shown - declared)
        known = ", ".join(sorted(shown | BESIDE))
        problems += [
            Problem(prompt.path, 2, f"input {name!r}: a {judge.kind} judge is given {known}") for name in strange
        ]
        problems += [Problem(prompt.path, 2, f"a {judge.kind} judge must declare input {name!r}") for name in absent]
        problems += [
            Problem(prompt.path, 2, f"input {name!r} is declared as {each.kind}; a judge is given strings")
            for name, each in prompt.front.inputs.items()
            if each.kind != "string"
        ]
    return prompt, problems


def _misfits(judge: Judge, file: Path, model: Model | None, models: Mapping[str, Model]) -> Iterator[str]:
    if judge.name != file.parent.name:
        yield f"name is {judge.name!r} but the folder is {file.parent.name!r}; make them equal"
    if model is None:
        yield f"no model {judge.model!r}; there are: {', '.join(sorted(models)) or 'none'}"
    elif model.engine == "static":
        yield f"model {judge.model!r} gives vectors (engine 'static'), no answers"


def demoted(
    gates: Sequence[Gate], suite: Suite, judges: Mapping[str, JudgeFiles]
) -> tuple[tuple[Gate, ...], dict[str, str]]:
    """The gates, advisory where a model grades that no labels of people vouch for; and gate id -> why, if demoted."""
    doubts = {check.id: doubt for check in suite.checks if check.graded and (doubt := _doubt(check, judges))}
    found: list[Gate] = []
    why: dict[str, str] = {}
    for gate in gates:
        reason = doubts.get(gate.metric.split(".")[0])
        if reason and gate.required:
            why[gate.id] = reason
            gate = gate.model_copy(update={"required": False})
        found.append(gate)
    return tuple(found), why


def _doubt(check: CheckSpec, judges: Mapping[str, JudgeFiles]) -> str:
    kind, name = check.check.split("/", 1)
    if kind == "deepeval":
        return f"{check.check} is graded by a model that no labels of people vouch for"
    judge = judges.get(name)
    return f"judge {name!r}: {judge.distrust}" if judge is not None and judge.distrust else ""


__all__ = ["BESIDE", "CARD", "LABELS", "SHOWN", "Judge", "JudgeFiles", "Kind", "demoted", "load_judges"]
