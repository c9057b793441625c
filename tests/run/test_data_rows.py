"""What the stage data says of the marts and the adapters that an app is made with."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.data.marts import build_mart
from harness.spec.data_metrics import TRAINING
from harness.spec.recipes import load_recipe
from harness.spec.repository import load_repository
from tests.run.mart import MART, mart_files
from tests.run.project import Project, make_project

SHA = "a" * 64
FOLDER = "models/adapters/sorter/1.0.0"
MODEL = f"""\
name: tiny
engine: transformers
source: path:models/tiny/weights.bin
sha256: {SHA}
licence: none
context: 100
"""
PROMPT = """\
---
name: sort
metadata: {version: 1.0.0}
inputs:
  message: {kind: string}
---
user:
{{ message }}
"""
APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: sort
    kind: llm
    model: tiny
    adapter: sorter/1.0.0
    prompt: desk/sort/1.0.0
    inputs: {message: inputs.message}
"""
ADAPTER = "    adapter: sorter/1.0.0\n"
RECIPE = """\
name: sorter
version: 1.0.0
base: tiny
mart: tickets
prompt: desk/sort/1.0.0
rows: {validation: test, inputs: {message: text}, completion: customer}
licence: none
"""
AGES = "freshness: {warn_after: {count: 1, period: minute}, error_after: {count: 9, period: day}}"
STALE = MART.replace("columns:", f"{AGES}\n    columns:")
FIGURES = {name: number + 0.5 for number, name in enumerate(TRAINING)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository whose app runs on an adapter that was built from the mart of the tree."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    files = {
        "suites/desk/app.yaml": APP.replace(ADAPTER, ""),
        "prompts/desk/sort/1.0.0.prompty": PROMPT,
        "models/tiny/model.yaml": MODEL,
        "models/adapters/sorter/recipe.yaml": RECIPE,
        **mart_files(),
    }
    made = make_project(tmp_path, files=files)
    prompt = load_repository(made.root).apps["desk"].prompts["desk/sort/1.0.0"]
    made.branch()
    made.write({"suites/desk/app.yaml": APP})
    built = build_mart(made.root, "tickets", tmp_path / "cache")
    recipe, _ = load_recipe(made.root / "models/adapters/sorter", "sorter")
    assert recipe
    state(made, {
        "mart_digest": built.digest, "recipe_digest": recipe.digest, "prompt_digest": prompt.digest,
        "training": FIGURES,
    })  # fmt: skip
    return made


def state(project: Project, provenance: dict[str, Any]) -> None:
    """Write the built adapter with what its manifest says it was made from."""
    contents = {"adapter_model.safetensors": "weights", "adapter_config.json": "{}"}
    shas = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    manifest = {
        "name": "sorter", "version": "1.0.0", "base": "tiny", "base_sha256": SHA, "tokenizer_template": SHA,
        "weights_sha256": shas["adapter_model.safetensors"], "config_sha256": shas["adapter_config.json"],
        "provenance": provenance,
    }  # fmt: skip
    project.write({f"{FOLDER}/{name}": text for name, text in contents.items()})
    project.write({f"{FOLDER}/manifest.json": orjson.dumps(manifest).decode()})


def rows(project: Project) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a new run but those of cases, by metric and what they are of."""
    assert project.run("measure", "data") == 0
    found = project.rows("measurements/data.jsonl")
    return {(row["metric"], row["case"]): row for row in found if row["metric"] != "data.seen"}


def test_an_adapter_made_from_what_is_here(project: Project) -> None:
    """Nothing moved, and every figure of its training is a row that a gate may bound."""
    found = rows(project)
    assert found["data.moved", "sorter/1.0.0"]["value"] == 0.0
    told = {metric: row["value"] for (metric, _), row in found.items() if metric.startswith("tune.")}
    assert told == {f"tune.{name}": value for name, value in FIGURES.items()}
    assert found["data.audits_failed", "tickets"]["value"] == 0.0
    assert found["data.build_s", "tickets"]["value"] > 0
    assert ("data.stale", "tickets/raw") not in found


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("data/tickets/raw/tickets.jsonl", "kettle", "samovar", "mart tickets is "),
        ("models/adapters/sorter/recipe.yaml", "licence", "training: {seed: 3}\nlicence", "recipe sorter/1.0.0 is "),
    ],
)
def test_an_adapter_made_from_something_else(project: Project, path: str, old: str, new: str, said: str) -> None:
    """What differs is named; a difference is shown and fails no gate by itself."""
    project.edit(path, old, new)
    row = rows(project)["data.moved", "sorter/1.0.0"]
    assert row["value"] == 1.0
    assert row["reason"].startswith(said)


def test_what_a_manifest_does_not_say_is_unscored(project: Project) -> None:
    """An adapter built elsewhere, without provenance, is no adapter that nothing moved for."""
    state(project, {})
    found = rows(project)
    moved = found["data.moved", "sorter/1.0.0"]
    assert (moved["status"], moved["value"]) == ("unscored", None)
    assert "nothing to compare for mart tickets, recipe sorter/1.0.0, prompt desk/sort/1.0.0" in moved["reason"]
    assert {found[f"tune.{name}", "sorter/1.0.0"]["status"] for name in TRAINING} == {"unscored"}


def test_a_loss_that_is_no_number_is_an_error(project: Project) -> None:
    """A build that recorded something else than a number, as null for a loss that diverged, is no silent build."""
    state(project, {"training": FIGURES | {"last_loss": None, "grad_norm": "nan", "first_loss": True}})
    found = rows(project)
    for name in ("last_loss", "grad_norm", "first_loss"):
        assert found[f"tune.{name}", "sorter/1.0.0"]["status"] == "error"
        assert "which is no number" in found[f"tune.{name}", "sorter/1.0.0"]["reason"]


def test_an_old_source_and_a_slow_build(project: Project) -> None:
    """Age and duration are rows with what was promised in their reasons; a gate on them fails."""
    project.write({"data/tickets/mart.yaml": STALE + "max_seconds: 0.000001\n"})
    then = time.time() - 3 * 86_400
    os.utime(project.root / "data/tickets/raw/tickets.jsonl", (then, then))
    found = rows(project)
    stale, slow = found["data.stale", "tickets/raw"], found["data.slow", "tickets"]
    assert (stale["value"], slow["value"]) == (0.5, 1.0)
    assert stale["reason"] == "is 3.0 days old, warn_after is 0.0 h"
    assert "max_seconds is 1e-06" in slow["reason"]
    assert found["data.freshness_s", "tickets/raw"]["value"] == pytest.approx(3 * 86_400, abs=3600)
    gates = "gates:\n  - {id: fresh, metric: data.stale, rule: at_most, threshold: 0, statistic: total}\n"
    project.write({"suites/desk/gates.yaml": gates})
    assert project.run("gate", "--only", "data") == 1
    assert "case tickets/raw is 3.0 days old" in project.gate_named("fresh")["reason"]


def test_a_failed_audit_is_counted(project: Project) -> None:
    """The mart's other rows are errors that say why."""
    project.write({"data/tickets/sql/audits/none.sql": "SELECT id FROM final\n"})
    found = rows(project)
    assert found["data.audits_failed", "tickets"]["value"] == 1.0
    assert found["data.build_s", "tickets"]["status"] == "error"
    assert found["data.moved", "sorter/1.0.0"]["status"] == "unscored"
