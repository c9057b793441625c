"""Candidates that must be trained first: once for each recipe, data, prompt and base, into the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from harness.errors import UsageError
from harness.run.model_choice.made import Made
from harness.run.model_choice.merged import merged_model
from harness.spec.adapters import WEIGHTS
from harness.spec.candidates import Candidate, base_recipe
from harness.spec.models import Model
from harness.spec.recipes import Recipe
from harness.spec.repository import Repository
from harness.store import convert_once, write_atomic

if TYPE_CHECKING:
    from harness.tune import TuneRequest

_SAID = "made.json"


@dataclass(frozen=True, slots=True)
class Training:
    """Who trains: ``train`` fills the folder ``out`` of what is asked, and returns the seconds that it took.

    ``identity(root, cache, recipe)`` is the digest of all that the result depends on.
    """

    train: Callable[[TuneRequest], float]
    identity: Callable[[Path, Path, Recipe], str]


def own_training() -> Training:
    """The trainer of this project."""
    return Training(_finetune, _identity)


def _finetune(request: TuneRequest) -> float:
    from harness.tune import finetune

    return finetune(request).seconds


def _identity(root: Path, cache: Path, recipe: Recipe) -> str:
    from harness.tune import inputs_of

    return inputs_of(root, cache, recipe).digest


def recipe_of(candidate: Candidate, root: Path) -> Recipe:
    """The recipe that the candidate is trained by; UsageError for one that is gone or invalid."""
    assert candidate.recipe is not None, "only a candidate with a recipe is trained"
    recipe, problems = base_recipe(candidate.recipe.name, root)
    if recipe is None:
        raise UsageError.of(problems)
    try:
        return candidate.recipe.applied(recipe)
    except ValueError as error:
        raise UsageError(f"candidate {candidate.id!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where and how candidates are trained; without ``may_train`` only what was trained before is taken."""

    repository: Repository
    cache: Path
    training: Training
    may_train: bool = True
    show: bool = True
    processes: int = 1


def make(shop: Workshop, candidate: Candidate) -> Made | None:
    """The trained candidate, trained now if nobody did before; None where that is so and training is not allowed.

    Raises UsageError for what a person can mend (no such base, a mart that cannot be built), and what the trainer
    raises.
    """
    root, cache = shop.repository.root, shop.cache
    recipe = recipe_of(candidate, root)
    base = _base(shop.repository, recipe)
    key = f"candidate-{shop.training.identity(root, cache, recipe)[:32]}"
    if not shop.may_train and not (cache / "built" / key / _SAID).is_file():
        return None

    def train(out: Path) -> None:
        from harness.tune import TuneRequest

        asked = TuneRequest(root, cache, recipe, _place(out, recipe), shop.processes, shop.show, judged=False)
        _train(asked, shop.training)

    folder = convert_once(key, cache, train)
    said = orjson.loads((folder / _SAID).read_bytes())
    place = _place(folder, recipe)
    size = (place / WEIGHTS).stat().st_size
    made = Made(recipe.digest, _method(recipe), base.name, said["seconds"], size, place)
    if recipe.method.kind == "lora":
        return made
    return replace(made, adapter=None, model=merged_model(base, place, root, cache))


def _base(repository: Repository, recipe: Recipe) -> Model:
    base = repository.models.get(recipe.base)
    if base is None or base.engine != "transformers":
        known = ", ".join(sorted(name for name, each in repository.models.items() if each.engine == "transformers"))
        raise UsageError(f"recipe {recipe.name!r}: {recipe.base!r} is no model with weights here: {known or 'none'}")
    return base


def _place(folder: Path, recipe: Recipe) -> Path:
    # The manifest of an adapter binds it to the names of its folders.
    return folder / recipe.name / recipe.version


def _train(request: TuneRequest, training: Training) -> None:
    request.out.parent.mkdir(parents=True)
    seconds = training.train(request)
    write_atomic(request.out.parent.parent / _SAID, orjson.dumps({"seconds": seconds}))


def _method(recipe: Recipe) -> str:
    return f"LoRA, rank {recipe.method.rank}" if recipe.method.kind == "lora" else "IA3, merged into the base"
