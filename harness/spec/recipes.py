"""Recipes: how an adapter is made of a base model, a mart and a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from harness.errors import Problem
from harness.spec.base import Semver, Slug, Spec
from harness.spec.yaml_file import load
from harness.store import digest_of

RECIPE = "recipe.yaml"
PromptKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]+/[a-z0-9_.-]+/\d+\.\d+\.\d+$")]
Column = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Rows(Spec):
    """Which rows of the mart are learned from, and what is read and answered in each.

    ``inputs`` maps each input of the prompt to a column. ``completion`` is one column whose text is the answer, or a
    list of columns, which are answered as one JSON object in that order. A row without a value in one of the listed
    columns is trained up to there; with ``partial`` false it is left out.
    """

    split: Slug = "train"
    validation: Slug = "validation"
    inputs: dict[str, Column]
    completion: Column | tuple[Column, ...]
    partial: bool = True

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.columns:
            message = "completion is empty; name the column, or the columns, that hold the answer"
            raise ValueError(message)
        if self.split == self.validation:
            message = f"split and validation are both {self.split!r}; stopping early would look at what was trained on"
            raise ValueError(message)
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer."""
        return (self.completion,) if isinstance(self.completion, str) else self.completion


class Method(Spec):
    """What is trained beside the frozen base (PEFT's names).

    ``lora`` (Hu et al. 2021) is what the gateway serves; ``ia3`` (Liu et al. 2022) is for comparison, where
    ``signoff models compare`` merges it into its base.
    ``target_modules`` are names of linear layers, or ``all-linear``.
    """

    kind: Literal["lora", "ia3"] = "lora"
    rank: int = Field(default=8, ge=1, le=256)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class Training(Spec):
    """How long and how fast.

    ``batch_size`` rows a step, taken ``accumulate`` times before the weights move; ``max_steps`` counts moves and
    replaces ``epochs``. The learning rate rises over ``warmup`` of the steps and then follows ``schedule``.
    ``sequence_length`` cuts longer rows at the front of the prompt's tokens, and says how many. Weights are kept as
    ``precision``; what is trained is float32. ``patience``: evaluations (one at each checkpoint) without a better
    validation loss before training stops and the best weights are kept; 0 never stops early. A checkpoint is written
    every ``checkpoint_steps``, and a build that was stopped goes on from it.
    """

    sequence_length: int = Field(default=512, ge=8, le=32768)
    batch_size: int = Field(default=16, ge=1, le=4096)
    accumulate: int = Field(default=1, ge=1, le=4096)
    epochs: float = Field(default=3.0, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: float = Field(default=0.06, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    threads: int | None = Field(default=None, ge=1, le=1024)
    patience: int = Field(default=0, ge=0, le=1000)
    checkpoint_steps: int = Field(default=50, ge=1)


class Budget(Spec):
    """What a build may take, in seconds of training and tokens read; a build that needs more is stopped and fails."""

    seconds: float = Field(default=1800.0, gt=0)
    tokens: int = Field(default=5_000_000, ge=1)


class Recipe(Spec):
    """``models/adapters/<name>/recipe.yaml``.

    ``version`` is what the build is called; a released version is never built again with another recipe: raise it.
    ``parent`` is an adapter version whose weights training starts from. ``store`` is where the weights are kept when
    they are too large for git: a URL that fsspec knows (``s3://bucket/adapters``).
    """

    name: Slug
    version: Semver
    description: str = ""
    base: Slug
    mart: Slug
    prompt: PromptKey
    rows: Rows
    method: Method = Method()
    training: Training = Training()
    budget: Budget = Budget()
    parent: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_.-]*/\d+\.\d+\.\d+$")
    store: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+.-]*://.+")
    licence: str
    limits: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """How ``app.yaml`` names what is built: ``support-triage/1.0.0``."""
        return f"{self.name}/{self.version}"

    @property
    def digest(self) -> str:
        """sha256 over everything that may change the weights; words for people, budget and store do not."""
        words = {"description", "limits", "licence", "budget", "store"}
        return digest_of(self.model_dump(mode="json", exclude=words))


def load_recipe(folder: Path, shown: str) -> tuple[Recipe | None, list[Problem]]:
    """``folder/recipe.yaml``, or what is wrong with it; its name is the folder's."""
    path = f"{shown}/{RECIPE}"
    recipe, problems = load(folder / RECIPE, path, Recipe)
    if recipe and recipe.name != folder.name:
        problems.append(Problem(path, 1, f"name is {recipe.name!r} but the folder is {folder.name!r}; make them equal"))
    return (None if problems else recipe), problems
