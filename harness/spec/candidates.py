"""Candidates: what one model step of an app could be instead, to be measured side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.errors import Problem
from harness.spec.adapters import ADAPTERS
from harness.spec.apps import App, Decoding, LlmStep, Output, StepId
from harness.spec.base import Slug, Spec
from harness.spec.models import AdapterKey, Model
from harness.spec.recipes import RECIPE, PromptKey, Recipe, load_recipe
from harness.spec.suites import Suite
from harness.spec.yaml_file import Path_, explain, line_in

CANDIDATES = "candidates.yaml"


class RecipeChange(Spec):
    """A recipe of the repository with some of its settings replaced; ``name`` is its folder in ``models/adapters``.

    ``parent: null`` starts from the base although the recipe goes on from an adapter.
    """

    name: Slug
    parent: AdapterKey | None = None
    method: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    budget: dict[str, Any] = Field(default_factory=dict)

    def applied(self, recipe: Recipe) -> Recipe:
        """``recipe`` with the settings replaced; ValueError names the settings that a recipe does not have."""
        plain = recipe.model_dump()
        for part in ("method", "training", "budget"):
            plain[part] |= getattr(self, part)
        if "parent" in self.model_fields_set:
            plain["parent"] = self.parent
        try:
            return Recipe.model_validate(plain)
        except ValidationError as error:
            raise ValueError("; ".join(explain(dict(item)) for item in error.errors())) from error


class Candidate(Spec):
    """What replaces fields of the step; a field that is not given stays the step's own.

    ``adapter: null`` takes the step's adapter away. With ``recipe`` an adapter is trained for the comparison, on the
    base that the recipe names, and kept outside the tree.
    """

    id: Slug
    description: str = ""
    model: Slug | None = None
    adapter: AdapterKey | None = None
    prompt: PromptKey | None = None
    output: Output | None = None
    decoding: Decoding | None = None
    recipe: RecipeChange | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        both = [name for name in ("model", "adapter") if name in self.model_fields_set]
        if self.recipe and both:
            message = f"candidate {self.id!r}: a recipe names its base and makes the adapter; remove {both[0]!r}"
            raise ValueError(message)
        empty = sorted(name for name in self.model_fields_set - {"adapter"} if getattr(self, name) is None)
        if empty:
            message = f"candidate {self.id!r}: {empty[0]!r} is null; leave it out to keep the step's own"
            raise ValueError(message)
        return self

    @property
    def fields(self) -> dict[str, Any]:
        """The step's fields that the candidate replaces, but for what a recipe makes."""
        names = self.model_fields_set & {"model", "adapter", "prompt", "output", "decoding"}
        return {name: getattr(self, name) for name in sorted(names)}


class Candidates(Spec):
    """``suites/<app>/candidates.yaml``: the first candidate is what the others are compared with."""

    step: StepId
    metric: str
    slices: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...]

    @field_validator("candidates")
    @classmethod
    def _several(cls, items: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        ids = [item.id for item in items]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            message = f"id {twice[0]!r} stands twice; ids are unique"
            raise ValueError(message)
        if len(items) < 2:
            message = f"{len(items)} candidates leave nothing to compare; give at least two"
            raise ValueError(message)
        return items


def candidate_problems(
    found: Candidates,
    file: Path,
    root: Path,
    app: App,
    suite: Suite,
    models: Mapping[str, Model],
    prompts: Collection[str],
) -> list[Problem]:
    """What is wrong with the file beside the others. An adapter that nobody built yet is no mistake of the file."""
    wrong = [*_wrong_frame(found, app, suite)]
    for place, candidate in enumerate(found.candidates):
        wrong += [
            (("candidates", place, key), f"candidate {candidate.id!r}: {text}")
            for key, text in _wrong_candidate(candidate, root, models, prompts)
        ]
    shown = file.relative_to(root).as_posix()
    return [Problem(shown, line_in(file, loc), text) for loc, text in wrong]


def _wrong_frame(found: Candidates, app: App, suite: Suite) -> list[tuple[Path_, str]]:
    wrong: list[tuple[Path_, str]] = []
    steps = [step.id for step in app.steps if isinstance(step, LlmStep)]
    if found.step not in steps:
        named = ", ".join(steps) or "none"
        wrong.append((("step",), f"no model step {found.step!r} in app {app.name!r}; its model steps: {named}"))
    checks = {check.id: check for check in suite.checks}
    check = checks.get(found.metric.split(".")[0])
    if check is None or check.graded:
        usable = ", ".join(name for name, each in checks.items() if not each.graded) or "none"
        why = "is given by a judge" if check else "is no check of the suite"
        wrong.append((("metric",), f"{found.metric!r} {why}; checks that can rank candidates: {usable}"))
    for place, name in enumerate(found.slices):
        if name not in suite.slices:
            known = ", ".join(suite.slices) or "none"
            wrong.append((("slices", place), f"slice {name!r} is not declared in suite.yaml: {known}"))
    return wrong


def _wrong_candidate(
    candidate: Candidate, root: Path, models: Mapping[str, Model], prompts: Collection[str]
) -> list[tuple[str, str]]:
    wrong = []
    if candidate.model is not None:
        model = models.get(candidate.model)
        if model is None:
            wrong.append(("model", f"no model {candidate.model!r}; there are: {', '.join(sorted(models)) or 'none'}"))
        elif model.engine == "static":
            wrong.append(("model", f"model {model.name!r} gives vectors (engine 'static'), no text"))
    if candidate.prompt is not None and candidate.prompt not in prompts:
        stem = candidate.prompt.rsplit("/", 1)[0]
        there = ", ".join(sorted(key for key in prompts if key.startswith(f"{stem}/"))) or "none"
        wrong.append(("prompt", f"no prompt {candidate.prompt!r}; there are: {there}"))
    if candidate.recipe is not None:
        wrong += [("recipe", text) for text in _wrong_recipe(candidate.recipe, root)]
    return wrong


def _wrong_recipe(change: RecipeChange, root: Path) -> list[str]:
    recipe, problems = base_recipe(change.name, root)
    if recipe is None:
        return [problem.message if problem.line is None else str(problem) for problem in problems]
    try:
        change.applied(recipe)
    except ValueError as error:
        return [str(error)]
    return []


def base_recipe(name: str, root: Path) -> tuple[Recipe | None, list[Problem]]:
    """The recipe of ``models/adapters/<name>``, or what is wrong with it."""
    folder = root / ADAPTERS / name
    shown = folder.relative_to(root).as_posix()
    if not folder.is_dir():
        known = sorted(path.parent.name for path in root.glob(f"{ADAPTERS}/*/{RECIPE}"))
        return None, [Problem(shown, None, f"no recipe {name!r}; there are: {', '.join(known) or 'none'}")]
    return load_recipe(folder, shown)
