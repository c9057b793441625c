"""A repository whose recipe tunes the tiny model on letters, and the training of one without a repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from harness.serve.engine.hub import ENGINE_REVISION
from harness.serve.engine.tiny import save_tiny
from harness.spec.recipes import Recipe
from harness.store import convert_once
from harness.tune import TuneRequest
from harness.tune.build import RESULTS
from harness.tune.job import DONE, Job
from tests.run.project import ROOT, Project
from tests.serve.served_repo import MODEL, SHA256

PROMPT = """\
---
name: sort
metadata:
  version: 1.0.0
inputs:
  message: {kind: string}
---
user:
{{ message }}
"""
MART = """\
name: letters
licence: MIT
sources:
  raw:
    from: path:raw.csv
    format: csv
    columns: {id: VARCHAR, writer: VARCHAR, body: VARCHAR, topic: VARCHAR}
    licence: MIT
key: id
group: writer
text: body
labels: {topic: [refund, other]}
splits: {train: 0.6, validation: 0.2, test: 0.2}
"""
SQL = "CREATE OR REPLACE TABLE letters AS SELECT id, writer, body, topic FROM raw;\n"
RECIPE: dict[str, Any] = {
    "name": "sorter",
    "version": "1.0.0",
    "base": "tiny",
    "mart": "letters",
    "prompt": "desk/sort/1.0.0",
    "licence": "MIT",
    "rows": {"inputs": {"message": "body"}, "completion": ["topic"]},
    "method": {"rank": 4, "dropout": 0.1},
    "training": {
        "sequence_length": 128,
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 0.005,
        "seed": 3,
        "precision": "float32",
        "threads": 1,
        "checkpoint_steps": 4,
    },
}
THINGS = ("kettle", "lamp", "shelf", "coat", "piano", "desk", "hose", "glass")


def letters(count: int = 64) -> list[dict[str, Any]]:
    """Rows of the mart; half of them are about money."""
    return [
        {
            "id": f"r{number:03}",
            "writer": f"w{number:03}",
            "body": f"{THINGS[number % 8]} number {number * 37 % 101}{' and my money' * (number % 2)}"
            + " please" * (number % 5),
            "topic": "refund" if number % 2 else "other",
        }
        for number in range(count)
    ]


def recipe(**changed: Any) -> Recipe:
    """The recipe with other keys; those of ``rows``, ``method`` and ``training`` are added to what stands there."""
    made = orjson.loads(orjson.dumps(RECIPE))
    for key, value in changed.items():
        made[key] = made[key] | value if isinstance(value, Mapping) and key in made else value
    return Recipe.model_validate(made)


def tiny_cache(cache: Path, sha256: str = SHA256) -> Path:
    """A cache that holds the tiny model as if it had been converted; the model's folder."""
    return convert_once(f"tiny-{sha256[:16]}-r{ENGINE_REVISION}", cache, save_tiny)


def tree(root: Path, rows: Sequence[Mapping[str, Any]] | None = None, **changed: Any) -> Project:
    """A git repository with model, prompt, mart and recipe; ``changed`` are keys of the recipe."""
    lines = [f"{row['id']},{row['writer']},{row['body']},{row['topic']}" for row in rows or letters()]
    project = Project(root)
    project.write(
        {
            "models/tiny/model.yaml": MODEL,
            "models/adapters/sorter/recipe.yaml": recipe(**changed).model_dump_json(),
            "prompts/desk/sort/1.0.0.prompty": PROMPT,
            "data/letters/mart.yaml": MART,
            "data/letters/sql/01_letters.sql": SQL,
            "data/letters/raw.csv": "\n".join(["id,writer,body,topic", *lines]) + "\n",
            ".gitignore": "reports/\ndata/*/build/\n",
        }
    )
    project.git("init", "--quiet", "--initial-branch=main")
    project.commit("first")
    return project


def request(project: Project, cache: Path, made: Recipe | None = None, **more: Any) -> TuneRequest:
    """To build the recipe as it stands in the tree, quietly."""
    from harness.spec.repository import load_shared

    made = made or load_shared(project.root).recipes["sorter"]
    return TuneRequest(project.root, cache, made, project.root / "models/adapters" / made.key, show=False, **more)


def job(folder: Path, model: Path, made: Recipe, rows: Sequence[Mapping[str, Any]] | None = None) -> Job:
    """The training of a recipe in ``folder``, on rows of which a quarter is held back."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    rows = list(rows or letters())
    file = folder / "prompts/desk/sort/1.0.0.prompty"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROMPT, encoding="utf-8")
    held = len(rows) // 4
    splits = {"validation": rows[:held], "train": rows[held:], "test": rows[:held]}
    paths = {name: folder / f"{name}.parquet" for name in splits}
    for name, part in splits.items():
        parquet.write_table(arrow.Table.from_pylist(part), paths[name])
    return Job(made, folder, model, file, paths, folder / "work")


def child(file: Path, **environment: str) -> subprocess.Popen[str]:
    """The training process of a job's file."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.tune.child", str(file)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What it said on standard error; it must end with ``code``."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def trained_at_once(made: Job, processes: int = 1, show: bool = False, *, seed: int = 0) -> None:
    """Stands for a training that took place: weights of ``seed``, figures, and answers of both arms."""
    import torch
    from peft import LoraConfig, get_peft_model

    from harness.serve.engine.loader import tokenizer_template_digest
    from harness.serve.engine.tiny import tiny_model, tiny_tokenizer
    from harness.tune.weights import write_adapter

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        asked = made.recipe.method
        config = LoraConfig(r=asked.rank, lora_alpha=asked.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(tiny_model(), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
    write_adapter(made.work, model, made.recipe.base)
    figures = {
        "rows": 40, "rows_truncated": 1, "rows_untrained": 2, "tokens": 4000, "tokens_trained": 400,
        "validation_rows": 12, "validation_loss": 0.5, "steps": 10, "epochs": 2.0, "mean_loss": 1.0, "first_loss": 3.0,
        "last_loss": 0.4, "grad_norm": 2.0, "liveness": 1.5, "seconds": 12.0, "threads": 1, "processes": processes,
        "device": "cpu", "tokenizer_template": tokenizer_template_digest(tiny_tokenizer()),
    }  # fmt: skip
    (made.work / DONE).write_bytes(orjson.dumps(figures))
    scores = {"adapter": {"topic": [1] * 9 + [0]}, "bare": {"topic": [0] * 10}}
    (made.work / RESULTS).write_bytes(orjson.dumps(scores))
