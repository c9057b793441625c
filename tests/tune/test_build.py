"""From a tree with a mart and a recipe to an adapter version that is served, and only when something changed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from harness.errors import SignoffError, UsageError
from harness.spec.adapters import CARD, CONFIG, MANIFEST, WEIGHTS, load_adapter
from harness.store import digest_file
from harness.store.files import locked
from harness.tune import Tuned, built, finetune, inputs_of
from harness.tune.build import RESULTS
from harness.tune.job import Job
from tests.run.project import ROOT, Project
from tests.tune.small import MODEL, SHA256, letters, recipe, request, tiny_cache, trained_at_once, tree

FOLDER = "models/adapters/sorter/1.0.0"
LEARNING: dict[str, Any] = {
    "method": {"rank": 8, "dropout": 0.0},
    "training": {"learning_rate": 0.02, "epochs": 24, "checkpoint_steps": 100},
}
"""Enough for the tiny model to learn the two answers."""


@dataclass(frozen=True)
class Tree:
    """A tree whose adapter is built."""

    project: Project
    cache: Path
    tuned: Tuned

    @property
    def folder(self) -> Path:
        return self.project.root / FOLDER


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Tree:
    """Really built: mart, training process, answers of both arms."""
    project = tree(tmp_path_factory.mktemp("real") / "tree", **LEARNING)
    return Tree(project, cache, finetune(request(project, cache)))


@pytest.fixture
def quick(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """A tree of the test's own, whose training took no time."""
    monkeypatch.setattr("harness.tune.build.run_training", trained_at_once)
    own = tmp_path / "cache"
    shutil.copytree(cache / "built", own / "built")
    project = tree(tmp_path / "tree")
    yield Tree(project, own, finetune(request(project, own)))


def test_a_built_version(real: Tree) -> None:
    """The folder holds weights, configuration, card and manifest, nothing else, and is what its manifest says."""
    assert {path.name for path in real.folder.iterdir()} == {WEIGHTS, CONFIG, CARD, MANIFEST}
    assert {path.name for path in real.folder.parent.iterdir()} == {"recipe.yaml", "1.0.0"}
    version, problems = load_adapter(real.folder, FOLDER)
    assert version and not problems and version.key == "sorter/1.0.0"
    assert real.tuned.fresh and real.tuned.seconds > 0
    assert real.tuned.bytes == (real.folder / WEIGHTS).stat().st_size
    assert not list((real.cache / "tuning").glob("sorter-*"))


def test_the_manifest_says_what_it_is_made_from(real: Tree) -> None:
    """Digests of all inputs, the machine, the commit, the figures of the training, and what both arms answered."""
    manifest = orjson.loads((real.folder / MANIFEST).read_bytes())
    made, inputs = manifest["provenance"], inputs_of(real.project.root, real.cache, recipe(**LEARNING))
    assert (manifest["base"], manifest["base_sha256"]) == ("tiny", SHA256)
    assert manifest["weights_sha256"] == digest_file(real.folder / WEIGHTS)
    assert (made["mart"], made["mart_digest"]) == ("letters", inputs.mart.digest)
    assert (made["recipe_digest"], made["prompt_digest"]) == (recipe(**LEARNING).digest, inputs.prompt.digest)
    assert made["parent"] is None and made["parent_digest"] is None
    assert made["commit"] == real.project.git("rev-parse", "HEAD") and made["dirty"] is False
    where = made["environment"]
    assert (where["seed"], where["threads"], where["device"], where["precision"]) == (3, 1, "cpu", "float32")
    assert set(where["packages"]) == {"torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors"}
    figures = made["training"]
    assert figures["rows"] == inputs.mart.counts["train"] and figures["liveness"] > 0
    assert figures["last_loss"] < figures["first_loss"]
    tested = inputs.mart.counts["test"]
    for arm in ("adapter", "bare"):
        assert {name: each["n"] for name, each in made["results"][arm].items()} == dict.fromkeys(
            ("topic", "valid", "exact"), tested
        )
    one, other = (made["results"][arm]["exact"] for arm in ("adapter", "bare"))
    assert other["share"] == 0 and one["share"] >= 0.5 and one["low"] <= one["share"] <= one["high"]
    assert made["results"]["adapter"]["valid"]["share"] >= one["share"]


def test_the_card(real: Tree) -> None:
    """Front matter in the Hub's form with the measured results; the text names inputs and figures."""
    text = (real.folder / CARD).read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    front = yaml.safe_load(head)
    assert (front["base_model"], front["base_model_relation"], front["library_name"]) == ("tiny", "adapter", "peft")
    assert (front["license"], front["datasets"]) == ("mit", ["letters"])
    results = front["model-index"][0]["results"][0]
    made = orjson.loads((real.folder / MANIFEST).read_bytes())["provenance"]
    assert {each["name"]: each["value"] for each in results["metrics"]} == {
        name: round(each["share"], 4) for name, each in made["results"]["adapter"].items()
    }
    assert made["mart_digest"][:16] in body and made["recipe_digest"][:16] in body and "None" not in body


def test_bytes_depend_on_content_alone(real: Tree) -> None:
    """Weights are bfloat16 in the order of their names, the configuration is canonical, no machine's path is told."""
    from safetensors import safe_open

    with safe_open(real.folder / WEIGHTS, "pt") as file:
        names = list(file.keys())
        assert {str(file.get_tensor(name).dtype) for name in names} == {"torch.bfloat16"}
        assert file.metadata() == {"format": "pt"}
    head = orjson.loads((real.folder / WEIGHTS).read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    stored = [name for name in head if name != "__metadata__"]
    assert stored == sorted(stored) == sorted(names)
    config = orjson.loads((real.folder / CONFIG).read_bytes())
    assert list(config) == sorted(config) and config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == "tiny" and config["revision"] is None
    for path in real.folder.iterdir():
        content = path.read_bytes()
        for told in (str(real.project.root), str(real.cache), str(ROOT), str(Path.home())):
            assert told.encode() not in content, path.name


def test_it_is_served_and_peft_reads_it(real: Tree) -> None:
    """The engine answers with it as PEFT does, token for token, and otherwise than the bare model."""
    from peft import PeftModel

    from harness.serve.engine.loader import load_base, load_transformers
    from harness.serve.protocol import Decoding, GenerationRequest, Message
    from tests.serve.helpers import generated_alone, run_all

    folder = tiny_cache(real.cache)
    engine = load_transformers(folder, "float32", 1)
    engine.load_adapter("sorter", real.folder)
    turns = [(Message("user", row["body"]),) for row in letters(6)]
    asked = [GenerationRequest(turn, Decoding(max_tokens=24), adapter="sorter") for turn in turns]
    bare = [GenerationRequest(turn, Decoding(max_tokens=24)) for turn in turns]
    found = [each.text for each in run_all(engine, [*asked, *bare])]
    base, tokenizer = load_base(folder, "float32")
    theirs = PeftModel.from_pretrained(base, str(real.folder)).eval()
    assert found[:6] == [generated_alone(theirs, tokenizer, each) for each in asked]
    assert found[:6] != found[6:]


def test_unchanged_inputs_start_nothing(real: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second build finds the first, starts no process and touches no file."""
    before = {path: path.stat().st_mtime_ns for path in real.folder.iterdir()}

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("harness.tune.build.subprocess.run", refuse)
    again = finetune(request(real.project, real.cache))
    assert (again.fresh, again.manifest, again.seconds) == (False, real.tuned.manifest, real.tuned.seconds)
    assert {path: path.stat().st_mtime_ns for path in real.folder.iterdir()} == before


CHANGES = {
    "mart": ("data/letters/raw.csv", "kettle", "teapot"),
    "recipe": ("models/adapters/sorter/recipe.yaml", '"seed":3', '"seed":4'),
    "prompt": ("prompts/desk/sort/1.0.0.prompty", "{{ message }}", "{{ message }}!"),
    "base": ("models/tiny/model.yaml", "ab" * 32, "cd" * 32),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_builds_again(quick: Tree, what: str) -> None:
    """Another mart, recipe, prompt or base is named, and the version is built anew."""
    file, old, new = CHANGES[what]
    quick.project.edit(file, old, new)
    if what == "base":
        tiny_cache(quick.cache, "cd" * 32)
    asked = request(quick.project, quick.cache)
    assert inputs_of(asked.root, asked.cache, asked.recipe).differs_from(quick.tuned.manifest) == [what]
    tuned = finetune(asked)
    assert tuned.fresh and not finetune(asked).fresh
    assert inputs_of(asked.root, asked.cache, asked.recipe).differs_from(tuned.manifest) == []


@pytest.mark.parametrize(
    "changed", [{"description": "other words"}, {"limits": ["a limit"]}, {"budget": {"seconds": 5}}]
)
def test_words_build_nothing(quick: Tree, changed: dict[str, Any]) -> None:
    """Words for people and the budget make no other adapter."""
    quick.project.write({"models/adapters/sorter/recipe.yaml": recipe(**changed).model_dump_json()})
    assert not finetune(request(quick.project, quick.cache)).fresh


def test_nothing_is_asked_of_an_adapter_that_is_not_to_be_judged(quick: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison asks all its candidates the suite; the mart's test rows would be asked for nothing."""

    def unjudged(made: Job, processes: int, show: bool) -> None:
        trained_at_once(made, processes, show)
        (made.work / RESULTS).unlink()

    monkeypatch.setattr("harness.tune.build.run_training", unjudged)
    monkeypatch.setattr("harness.tune.build.run_child", lambda *_: pytest.fail("the adapter was asked"))
    asked = replace(request(quick.project, quick.cache), out=quick.project.root / "other/sorter/1.0.0", judged=False)
    assert finetune(asked).manifest.provenance["results"] == {}


def test_a_parent(quick: Tree) -> None:
    """A version may start from another one: it is an input by its digest, and must be built and fit the base."""
    child = {"version": "1.1.0", "parent": "sorter/1.0.0"}
    quick.project.write({"models/adapters/sorter/recipe.yaml": recipe(**child).model_dump_json()})
    tuned = finetune(request(quick.project, quick.cache))
    first = built(quick.folder)
    assert first and tuned.manifest.provenance["parent_digest"] == first.digest
    assert "| parent | sorter/1.0.0 |" in (tuned.folder / CARD).read_text(encoding="utf-8")
    shutil.rmtree(quick.folder)
    with pytest.raises(UsageError, match=r"parent is 'sorter/1\.0\.0', which is not built"):
        finetune(request(quick.project, quick.cache, recipe(**child)))


def test_other_builds_are_no_edits(quick: Tree) -> None:
    """A version that was just built and lies there uncommitted is no edit of the next build's tree; a recipe is."""
    project, file = quick.project, "models/adapters/sorter/recipe.yaml"
    project.write({file: recipe(version="1.1.0").model_dump_json()})
    edited = finetune(request(project, quick.cache))
    project.git("add", file)
    project.git("commit", "--quiet", "--message", "1.1.0")
    shutil.rmtree(edited.folder)
    assert "?? models/adapters/sorter/1.0.0/" in project.git("status", "--porcelain")
    clean = finetune(request(project, quick.cache))
    assert [each.manifest.provenance["dirty"] for each in (edited, clean)] == [True, False]


def test_parents_weights_are_the_beginning(tmp_path: Path, quick: Tree) -> None:
    """The parent's weights are taken over as they are; another rank is refused."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import load_file

    from harness.serve.engine.tiny import tiny_model
    from harness.tune.weights import take_parent

    for rank in (4, 8):
        config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(tiny_model(), config)
        if rank == 4:
            take_parent(model, quick.folder)
            found = get_peft_model_state_dict(model)
            assert all(
                (tensor.float() == found[name]).all() for name, tensor in load_file(quick.folder / WEIGHTS).items()
            )
        else:
            with pytest.raises(UsageError, match="another rank than the recipe"):
                take_parent(model, quick.folder)


def test_a_damaged_version_is_not_built_over(quick: Tree) -> None:
    """Files that are not what their manifest says are named; removing the folder builds the version again."""
    (quick.folder / WEIGHTS).write_bytes(b"other")
    with pytest.raises(UsageError, match=r"has sha256 .*remove the folder"):
        finetune(request(quick.project, quick.cache))
    shutil.rmtree(quick.folder)
    assert finetune(request(quick.project, quick.cache)).fresh


def test_a_full_disk(quick: Tree, small_disk: Path) -> None:
    """When the version does not fit on the disk the old one stays as it was, and nothing half lies beside it."""
    out = small_disk / "sorter/1.0.0"
    asked = request(quick.project, quick.cache)
    asked = type(asked)(asked.root, asked.cache, asked.recipe, out, show=False)
    finetune(asked)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    quick.project.edit(*CHANGES["recipe"])
    changed = request(quick.project, quick.cache).recipe
    filler = small_disk / "filler"
    try:
        with filler.open("wb") as stream:
            while stream.write(b"x" * 4096) and not stream.flush():
                pass
    except OSError:
        pass
    asked = type(asked)(asked.root, asked.cache, changed, out, show=False)
    with pytest.raises(UsageError, match=r"no space left while writing .*sorter/1\.0\.0"):
        finetune(asked)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["1.0.0"]
    filler.unlink()
    assert finetune(asked).fresh and built(out) is not None


KILLED = """
import os, signal, sys
from pathlib import Path
import harness.tune.build as build
from tests.tune.small import request, trained_at_once
from tests.run.project import Project

build.run_training = trained_at_once
copy = build.shutil.copyfile


def copyfile(source, target):
    copy(source, target)
    if target.name == "adapter_config.json":
        os.kill(os.getpid(), signal.SIGKILL)


build.shutil.copyfile = copyfile
build.finetune(request(Project(Path(sys.argv[1])), Path(sys.argv[2])))
"""


def test_a_killed_build(quick: Tree) -> None:
    """A build that is killed while it puts the folder together leaves the old version whole; the next one ends it."""
    from harness.tune import verify_adapters

    quick.project.edit(*CHANGES["recipe"])
    before = digest_file(quick.folder / MANIFEST)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(quick.project.root), str(quick.cache)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert digest_file(quick.folder / MANIFEST) == before and built(quick.folder) is not None
    assert [found.key for found in verify_adapters(quick.project.root, quick.cache)] == ["sorter/1.0.0"]
    assert finetune(request(quick.project, quick.cache)).fresh
    assert {path.name for path in quick.folder.parent.iterdir()} == {"recipe.yaml", "1.0.0"}


def test_who_waited_for_a_build_takes_it(quick: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds of the same version at once train once: who had to wait takes what the other one built."""
    quick.project.edit(*CHANGES["recipe"])
    asked = request(quick.project, quick.cache)
    trained: list[str] = []

    def slow(made: Any, processes: int, show: bool) -> None:
        trained.append(made.recipe.key)
        trained_at_once(made, processes, show)

    monkeypatch.setattr("harness.tune.build.run_training", slow)
    digest = inputs_of(asked.root, asked.cache, asked.recipe).digest
    found: list[Tuned] = []
    threads = [threading.Thread(target=lambda: found.append(finetune(asked))) for _ in range(2)]
    with locked(quick.cache / "locks" / f"sorter-{digest[:16]}.lock"):
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(120)
    assert trained == ["sorter/1.0.0"] and sorted(each.fresh for each in found) == [False, True]


def test_an_adapter_that_does_nothing(quick: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that moves no logit is no version."""

    def idle(made: Any, processes: int, show: bool) -> None:
        trained_at_once(made, processes, show)
        done = made.work / "done.json"
        done.write_bytes(orjson.dumps(orjson.loads(done.read_bytes()) | {"liveness": 0.0}))

    monkeypatch.setattr("harness.tune.build.run_training", idle)
    quick.project.edit(*CHANGES["recipe"])
    with pytest.raises(SignoffError, match=r"sorter/1\.0\.0: the adapter changes nothing"):
        finetune(request(quick.project, quick.cache))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base": "huge"}, "base 'huge' is no model with weights here; there are: tiny"),
        ({"mart": "words"}, "words"),
        ({"prompt": "desk/sort/2.0.0"}, "no prompt 'desk/sort/2.0.0'; it would be prompts/desk/sort/2.0.0.prompty"),
    ],
)
def test_what_a_recipe_names_must_be_there(quick: Tree, changed: dict[str, Any], said: str) -> None:
    """A recipe that did not pass through ``check`` is refused with the name of what is absent."""
    with pytest.raises(UsageError) as caught:
        inputs_of(quick.project.root, quick.cache, recipe(**changed))
    assert said in str(caught.value)


def test_models_that_run_elsewhere_cannot_be_tuned(quick: Tree) -> None:
    """A base is weights that are here."""
    static = MODEL.replace("context:", "engine: openai\nbase_url: http://127.0.0.1:9/v1\nmodel_id: m\ncontext:")
    lines = [line for line in static.splitlines() if not line.startswith(("source:", "sha256:"))]
    quick.project.write({"models/tiny/model.yaml": "\n".join(lines) + "\n"})
    with pytest.raises(UsageError, match="base"):
        inputs_of(quick.project.root, quick.cache, recipe())
