"""A repository whose app sorts messages with the tiny model, candidates for that step, and a trainer that is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from harness.run.model_choice import Training
from harness.serve.engine.hub import ENGINE_REVISION
from harness.serve.engine.loader import tokenizer_template_digest
from harness.serve.engine.tiny import save_tiny, tiny_model, tiny_tokenizer
from harness.spec.adapters import CONFIG, MANIFEST, WEIGHTS, AdapterManifest
from harness.store import convert_once, digest_file, digest_of
from harness.tune import TuneRequest
from tests.run.project import Project, case_lines, make_project
from tests.serve.adapters import save_adapter

SHA256 = {"tiny": "ab" * 32, "other": "cd" * 32}
MODEL = """\
name: {name}
source: path:never-read
sha256: {sha256}
licence: MIT
parameters: 40000
size_bytes: 160000
context: 2048
benchmarks: [{{name: Riddles, value: 12.5, source: "their paper"}}]
training_data: ["random numbers"]
price: {{input_per_million: 2.0, output_per_million: 8.0, currency: EUR}}
"""
APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: sort
    kind: llm
    task: classification
    prompt: desk/sort/1.0.0
    model: tiny
    inputs: {message: inputs.message}
    output: {kind: choice, options: [refund, other]}
  - id: shout
    kind: function
    function: desk.py:shout
    inputs: {label: steps.sort.output}
"""
CODE = """\
def shout(label):
    raise RuntimeError("nobody needs this step for the quality of the other one")
"""
SUITE = """\
slices:
  money: about money
checks:
  - {id: right, check: label_match, step: sort, expect: label}
"""
GATES = """\
gates:
  - {id: level, metric: right, rule: at_least, threshold: 0.8}
"""
RECIPE = """\
name: sorter
version: 1.0.0
base: tiny
mart: letters
prompt: desk/sort/1.0.0
licence: MIT
rows: {inputs: {message: text}, completion: label}
"""
MART = """\
name: letters
licence: MIT
sources:
  raw:
    from: path:raw.csv
    format: csv
    columns: {id: VARCHAR, text: VARCHAR, label: VARCHAR}
    licence: MIT
key: id
group: id
text: text
labels: {label: [refund, other]}
splits: {train: 0.6, validation: 0.4}
"""
CANDIDATES = """\
step: sort
metric: right
slices: [money]
candidates:
  - {id: bare, description: as it is}
  - {id: wordy, prompt: desk/sort/1.1.0}
  - {id: other-base, model: other}
"""
TRAINED = """\
  - {id: lora-2, recipe: {name: sorter, method: {rank: 2}}}
  - {id: ia3, recipe: {name: sorter, method: {kind: ia3}}}
"""


def prompt(version: str, text: str) -> str:
    """A version of the prompt ``sort``."""
    return (
        f"---\nname: sort\nmetadata:\n  version: {version}\ninputs:\n  message: {{kind: string}}\n---\nuser:\n{text}\n"
    )


def letters(count: int = 60) -> str:
    """Rows to learn from, none of which is a case."""
    rows = [
        f"r{n},letter {n} {'on cash' if n % 2 else 'on hats'},{'refund' if n % 2 else 'other'}" for n in range(count)
    ]
    return "\n".join(["id,text,label", *rows]) + "\n"


def choice_project(folder: Path, cache: Path, candidates: str = CANDIDATES, count: int = 12) -> Project:
    """The repository; the two tiny models lie in ``cache`` as if they had been converted."""
    for seed, (name, sha256) in enumerate(SHA256.items()):
        convert_once(f"{name}-{sha256[:16]}-r{ENGINE_REVISION}", cache, lambda out, seed=seed: save_tiny(out, seed))
    models = {f"models/{name}/model.yaml": MODEL.format(name=name, sha256=sha) for name, sha in SHA256.items()}
    return make_project(
        folder,
        files={
            **models,
            "prompts/desk/sort/1.0.0.prompty": prompt("1.0.0", "{{ message }}"),
            "prompts/desk/sort/1.1.0.prompty": prompt("1.1.0", "Is this about a refund or other? {{ message }}"),
            "models/adapters/sorter/recipe.yaml": RECIPE,
            "data/letters/mart.yaml": MART,
            "data/letters/sql/01_letters.sql": "CREATE OR REPLACE TABLE letters AS SELECT * FROM raw;\n",
            "data/letters/raw.csv": letters(),
            "suites/desk/app.yaml": APP,
            "suites/desk/desk.py": CODE,
            "suites/desk/suite.yaml": SUITE,
            "suites/desk/gates.yaml": GATES,
            "suites/desk/cases/all.jsonl": case_lines(count),
            "suites/desk/candidates.yaml": candidates,
        },
    )


def write_adapter(out: Path, *, kind: str = "lora", rank: int = 2) -> Path:
    """An adapter version of the tiny model in ``out`` (``.../<name>/<version>``), with its manifest."""
    out.mkdir(parents=True)
    if kind == "lora":
        save_adapter(out, seed=rank, rank=rank)
    else:
        _save_ia3(out)
    manifest = AdapterManifest(
        name=out.parent.name,
        version=out.name,
        base="tiny",
        base_sha256=SHA256["tiny"],
        tokenizer_template=tokenizer_template_digest(tiny_tokenizer()),
        weights_sha256=digest_file(out / WEIGHTS),
        config_sha256=digest_file(out / CONFIG),
    )
    (out / MANIFEST).write_bytes(orjson.dumps(manifest.model_dump(mode="json")))
    return out


def _save_ia3(out: Path) -> None:
    import torch
    from peft import IA3Config, get_peft_model

    build: Any = IA3Config
    config = build(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])
    model = get_peft_model(tiny_model(), config)
    for name, weight in model.named_parameters():
        if "ia3_l" in name:
            torch.nn.init.constant_(weight, 1.5)
    model.save_pretrained(str(out))


class Trainer:
    """Takes no time and writes real adapters; ``orders`` are the recipes asked for, ``processes`` by how many."""

    def __init__(self, mart: str = "m1") -> None:
        self.orders: list[str] = []
        self.processes: list[int] = []
        self.mart = mart

    @property
    def training(self) -> Training:
        """What the comparison is given."""
        return Training(self._train, lambda _root, _cache, recipe: digest_of([recipe.digest, self.mart]))

    def _train(self, request: TuneRequest) -> float:
        method = request.recipe.method
        self.orders.append(f"{method.kind} {method.rank}")
        self.processes.append(request.processes)
        if method.rank == 13:
            raise RuntimeError("the loss is not a number\nand more")
        write_adapter(request.out, kind=method.kind, rank=method.rank)
        return 3.5
