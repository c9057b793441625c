"""recipe.yaml: a closed file whose digest moves with everything that may change the weights, and with nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.errors import UsageError
from harness.spec.recipes import Budget, Method, Recipe, Rows, Training, load_recipe
from harness.spec.repository import load_repository, load_shared
from tests.run.project import ROOT, make_project
from tests.run.tiny_choice import MART, MODEL, RECIPE, letters, prompt

GOOD = """\
name: sorter
version: 1.0.0
base: tiny
mart: letters
prompt: desk/sort/1.0.0
licence: MIT
rows:
  inputs: {message: text}
  completion: [label, mood]
method: {rank: 4}
training: {epochs: 2}
budget: {seconds: 60}
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong, as it is printed."""
    folder = tmp_path / "sorter"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    recipe, found = load_recipe(folder, "models/adapters/sorter")
    assert (recipe is None) == bool(found)
    return [str(problem).removeprefix("models/adapters/sorter/") for problem in found]


def test_a_good_one(tmp_path: Path) -> None:
    """A recipe is read; its key is the version that it builds."""
    assert problems(tmp_path, GOOD) == []
    recipe, _ = load_recipe(tmp_path / "sorter", "x")
    assert recipe and recipe.key == "sorter/1.0.0" and recipe.rows.columns == ("label", "mood")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base: tiny", "bas: tiny", "recipe.yaml:3: unknown key 'bas'"),
        ("{rank: 4}", "{rnk: 4}", "unknown key 'method.rnk'"),
        ("{epochs: 2}", "{epoch: 2}", "unknown key 'training.epoch'"),
        ("{seconds: 60}", "{minutes: 1}", "unknown key 'budget.minutes'"),
        ("  inputs:", "  input:", "unknown key 'rows.input'"),
        ("[label, mood]", "[]", "completion is empty; name the column"),
        ("completion:", "split: validation\n  completion:", "both 'validation'; stopping early would look at what"),
        ("name: sorter", "name: sorted", "name is 'sorted' but the folder is 'sorter'"),
        ("prompt: desk/sort/1.0.0", "prompt: desk/sort", "recipe.yaml:5:"),
        ("version: 1.0.0", "version: one", "recipe.yaml:2:"),
        ("licence: MIT\n", "", "licence"),
        ("licence: MIT", "licence: MIT\nstore: /disk/adapters", "store"),
        ("budget:", "parent: sorter\nbudget:", "recipe.yaml:12:"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Each mistake is named with its line."""
    found = problems(tmp_path, GOOD.replace(old, new))
    assert any(said in problem for problem in found), found


RANGES: list[tuple[type, str, tuple[Any, ...], tuple[Any, ...]]] = [
    (Method, "rank", (1, 256), (0, 257, 1.5)),
    (Method, "alpha", (0.1,), (0, -1)),
    (Method, "dropout", (0, 0.99), (-0.1, 1)),
    (Method, "kind", ("lora", "ia3"), ("dora",)),
    (Method, "target_modules", ("all-linear", ("q_proj",)), ("some",)),
    (Training, "sequence_length", (8, 32768), (7, 32769)),
    (Training, "batch_size", (1, 4096), (0, 4097)),
    (Training, "accumulate", (1, 4096), (0, 4097)),
    (Training, "epochs", (0.5, 1000), (0, 1001)),
    (Training, "max_steps", (None, 1), (0,)),
    (Training, "learning_rate", (1e-9, 0.5), (0, 1)),
    (Training, "schedule", ("linear", "cosine", "constant"), ("step",)),
    (Training, "warmup", (0, 0.5), (-0.1, 1)),
    (Training, "weight_decay", (0, 0.5), (-0.1, 1)),
    (Training, "max_grad_norm", (0.1,), (0,)),
    (Training, "seed", (0, 2**32 - 1), (-1, 2**32)),
    (Training, "precision", ("float32", "bfloat16"), ("float16",)),
    (Training, "threads", (None, 1, 1024), (0, 1025)),
    (Training, "patience", (0, 1000), (-1, 1001)),
    (Training, "checkpoint_steps", (1,), (0,)),
    (Budget, "seconds", (0.1,), (0,)),
    (Budget, "tokens", (1,), (0,)),
]


@pytest.mark.parametrize(
    ("kind", "key", "good", "bad"), RANGES, ids=[f"{kind.__name__}-{key}" for kind, key, *_ in RANGES]
)
def test_ranges(kind: Any, key: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    """The ends of each range are taken and what lies beyond is refused."""
    for value in good:
        assert getattr(kind.model_validate({key: value}), key) == value
    for value in bad:
        with pytest.raises(ValidationError):
            kind.model_validate({key: value})


def test_every_range_is_tested() -> None:
    """No key of these objects is missing from the table above."""
    for kind in (Method, Training, Budget):
        assert set(kind.model_fields) == {key for owner, key, *_ in RANGES if owner is kind}


BASE = Recipe.model_validate(yaml.safe_load(GOOD))
WORDS = ("description", "limits", "licence", "budget", "store")
"""What is said to people, what a build may take and where it is kept: another value makes no other weights."""
OTHER: dict[str, Any] = {
    "name": "other",
    "version": "1.0.1",
    "base": "other",
    "mart": "other",
    "prompt": "desk/sort/1.0.1",
    "parent": "sorter/0.9.0",
    "rows.split": "more",
    "rows.validation": "more",
    "rows.inputs": {"message": "mood"},
    "rows.completion": ["mood", "label"],
    "rows.partial": False,
    "method.kind": "ia3",
    "method.target_modules": ["q_proj"],
    "training.schedule": "cosine",
    "training.precision": "float32",
    "training.max_steps": 3,
    "training.threads": 2,
}
NUMBERS = [f"{part}.{key}" for part, kind in (("method", Method), ("training", Training)) for key in kind.model_fields]


def changed(path: str, value: Any) -> Recipe:
    """The recipe with another value at ``path``."""
    content = BASE.model_dump(mode="json")
    part, _, key = path.rpartition(".")
    (content[part] if part else content)[key] = value
    return Recipe.model_validate(content)


def test_every_field_is_told_apart_or_words() -> None:
    """No field of a recipe is forgotten by the tests of its digest."""
    fields = {name for name in Recipe.model_fields if name not in ("rows", "method", "training")}
    fields |= {f"rows.{name}" for name in Rows.model_fields} | set(NUMBERS)
    assert fields == {*WORDS, *OTHER, *NUMBERS}


@pytest.mark.parametrize("path", OTHER)
def test_the_digest_moves(path: str) -> None:
    """Each field that may change the weights changes the digest."""
    assert changed(path, OTHER[path]).digest != BASE.digest


@given(st.sampled_from([path for path in NUMBERS if path not in OTHER]), st.integers(8, 200))
def test_the_digest_follows_numbers(path: str, number: int) -> None:
    """So does each number; the same number gives the same digest."""
    value = (
        number / 1000 if path.rpartition(".")[2] in ("dropout", "learning_rate", "warmup", "weight_decay") else number
    )
    part, _, key = path.partition(".")
    made = changed(path, value)
    assert (made.digest == BASE.digest) is (getattr(getattr(BASE, part), key) == value)
    assert changed(path, value).digest == made.digest


@given(st.text(max_size=20), st.lists(st.text(max_size=9)), st.text(max_size=9), st.integers(1, 10**9))
def test_words_do_not_move_the_digest(description: str, limits: list[str], licence: str, number: int) -> None:
    """Words for people and the budget leave the digest alone."""
    content = BASE.model_dump(mode="json") | {"description": description, "limits": limits, "licence": licence}
    content |= {"budget": {"seconds": number, "tokens": number}, "store": f"s3://bucket/{number}"}
    assert Recipe.model_validate(content).digest == BASE.digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base: tiny", "base: tinny", "base is 'tinny'; there are: other, tiny"),
        ("mart: letters", "mart: leters", "mart is 'leters'; there are: letters"),
        (
            "prompt: desk/sort/1.0.0",
            "prompt: desk/sort/9.0.0",
            "prompt is 'desk/sort/9.0.0'; there are: desk/sort/1.0.0",
        ),
        ("{message: text}", "{text: text}", "rows.inputs fills text; prompt desk/sort/1.0.0 declares message"),
        (
            "completion: label",
            "split: more, completion: label",
            "rows: mart 'letters' has no split 'more'; it has train, validation",
        ),
        ("completion: label", "completion: mood", "rows: mart 'letters' has no column 'mood'; it has id, text, label"),
        ("licence: MIT", "licence: MIT\nparent: sorter/0.1.0", "parent is 'sorter/0.1.0', which is not built"),
    ],
)
def test_what_a_recipe_names_must_be_there(
    tmp_path: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``signoff check`` names what a recipe asks for and the tree does not have, with the file."""
    models = {f"models/{name}/model.yaml": MODEL.format(name=name, sha256="ab" * 32) for name in ("other", "tiny")}
    files = {
        "prompts/desk/sort/1.0.0.prompty": prompt("1.0.0", "{{ message }}"),
        "models/adapters/sorter/recipe.yaml": RECIPE,
        "data/letters/mart.yaml": MART,
        "data/letters/sql/01_letters.sql": "CREATE OR REPLACE TABLE letters AS SELECT * FROM raw;\n",
        "data/letters/raw.csv": letters(),
    }
    project = make_project(tmp_path, count=4, files=models | files)
    assert load_shared(project.root).recipes["sorter"].base == "tiny"
    project.edit("models/adapters/sorter/recipe.yaml", old, new)
    assert project.run("check") == 64
    told = capsys.readouterr().err
    assert f"models/adapters/sorter/recipe.yaml:1: {said}" in told, told
    with pytest.raises(UsageError):
        load_repository(project.root)


def test_recipes_that_ship() -> None:
    """Every recipe of this repository is read, and names what is there."""
    shared = load_shared(ROOT)
    assert set(shared.recipes) == {path.parent.name for path in ROOT.glob("models/adapters/*/recipe.yaml")}


def test_a_tree_without_recipes(tmp_path: Path) -> None:
    """An app needs none."""
    assert load_shared(make_project(tmp_path).root).recipes == {}
