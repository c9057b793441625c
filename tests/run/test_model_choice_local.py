"""Candidates that run here: trained once, served from processes of their own, timed without a cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.errors import SignoffError, UsageError
from harness.run.model_choice import Choice, Training, Wanted, compare_models
from harness.run.model_choice.child import peak_bytes
from harness.run.model_choice.entry import one_of_each
from harness.run.model_choice.training import Workshop, make, own_training, recipe_of
from harness.run.model_choice.variants import Variant, variant
from harness.run.options import Options
from harness.serve.engine.hub import model_folder
from harness.spec.adapters import MANIFEST
from harness.spec.models import Model
from harness.spec.repository import load_repository
from harness.store import cache_home
from tests.run.project import Project
from tests.run.tiny_choice import CANDIDATES, TRAINED, Trainer, choice_project, write_adapter

FILE = "suites/desk/candidates.yaml"
HEAD = CANDIDATES.split("  - {id: wordy")[0]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The children are many and the model is tiny."""
    monkeypatch.setenv("SIGNOFF_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The bare model, a LoRA adapter and IA3."""
    return choice_project(tmp_path, cache_home(), HEAD + TRAINED)


def compared(project: Project, trainer: Trainer, **wanted: Any) -> Choice:
    """The comparison with a quick trainer."""
    options = Options(project.root, cache_home(), ("desk",), quiet=True)
    return compare_models(options, Wanted(**{"latency_cases": 0, **wanted}), trainer.training)


def shop(project: Project, trainer: Trainer, **more: Any) -> Workshop:
    """Where candidates of the project are trained."""
    return Workshop(load_repository(project.root), cache_home(), trainer.training, **more)


def candidate(project: Project, name: str) -> Any:
    """A candidate of the file."""
    found = load_repository(project.root).suites["desk"].candidates
    assert found is not None
    return next(each for each in found.candidates if each.id == name)


@pytest.mark.slow
def test_all_kinds_are_measured_side_by_side(project: Project) -> None:
    """Bare, LoRA and merged IA3 answer; each has its memory, its times and what training took; nothing is in the tree.

    A second comparison trains nothing and asks nothing, and ``--no-train`` leaves out what nobody trained yet.
    """
    trainer = Trainer()
    found = {record["id"]: record for record in compared(project, trainer, latency_cases=3).data["candidates"]}
    assert [(found[n]["method"], found[n]["build_seconds"]) for n in ("bare", "lora-2", "ia3")] == [
        ("not tuned", 0.0), ("LoRA, rank 2", 3.5), ("IA3, merged into the base", 3.5),
    ]  # fmt: skip
    assert found["lora-2"]["adapter_bytes"] > found["ia3"]["adapter_bytes"] > 0
    assert {record["latency"]["n"] for record in found.values()} == {3}
    assert all(record["memory_bytes"] > 50 * 2**20 for record in found.values())
    assert len({record["digest"] for record in found.values()}) == 3
    assert {record["model"] for record in found.values()} == {"tiny"}
    project.write({FILE: HEAD + TRAINED + "  - {id: lora-3, recipe: {name: sorter, method: {rank: 3}}}\n"})
    again = compared(project, trainer, train=False)
    assert trainer.processes == [1, 1]
    assert trainer.orders == ["lora 2", "ia3 8"]
    assert {record["id"]: record["model_calls"] for record in again.data["candidates"]} == dict.fromkeys(found, 0)
    why = "nobody trained it yet, and --no-train was given"
    assert again.data["not_measured"] == [{"id": "lora-3", "reason": why, "broken": False}]
    assert project.git("status", "--porcelain") == f"M {FILE}"


@pytest.mark.parametrize("change", ["mart", "recipe", "setting"])
def test_trained_again_when_something_changed(project: Project, change: str) -> None:
    """Other rows, another recipe and another setting are other adapters; the same ones are not."""
    trainer = Trainer()
    for _ in range(2):
        make(shop(project, trainer), candidate(project, "lora-2"))
    assert trainer.orders == ["lora 2"]
    if change == "mart":
        trainer.mart = "m2"
    elif change == "recipe":
        project.edit("models/adapters/sorter/recipe.yaml", "licence: MIT", "licence: MIT\ntraining: {epochs: 7}")
    else:
        project.edit(FILE, "{rank: 2}", "{rank: 2, alpha: 3}")
    make(shop(project, trainer), candidate(project, "lora-2"))
    assert trainer.orders == ["lora 2", "lora 2"]


def test_a_candidate_may_begin_at_the_base(project: Project) -> None:
    """``parent: null`` undoes that the recipe goes on from an adapter; without it the adapter stays the beginning."""
    project.edit(FILE, "name: sorter, method: {rank: 2}", "name: sorter, parent: null, method: {rank: 2}")
    anew, on = candidate(project, "lora-2"), candidate(project, "ia3")
    project.edit("models/adapters/sorter/recipe.yaml", "licence: MIT", "licence: MIT\nparent: sorter/0.9.0")
    assert recipe_of(anew, project.root).parent is None
    assert recipe_of(on, project.root).parent == "sorter/0.9.0"


def test_several_processes_train_one_candidate(project: Project) -> None:
    """What a person asks for reaches the trainer."""
    trainer = Trainer()
    make(shop(project, trainer, processes=2), candidate(project, "lora-2"))
    assert trainer.processes == [2]


def built(project: Project, name: str) -> Variant:
    """The app with a candidate that needs no training."""
    repository = load_repository(project.root)
    suite = repository.suites["desk"]
    assert suite.candidates is not None
    return variant(repository, "desk", suite.candidates, candidate(project, name), suite.suite.checks[0], None)


def test_only_needed_steps_are_asked(project: Project) -> None:
    """A check of the varied step needs nothing after it; one of the app's answer needs everything."""
    assert [step.id for step in built(project, "bare").files.app.steps] == ["sort"]
    project.edit("suites/desk/suite.yaml", "step: sort, ", "")
    found = built(project, "bare")
    assert [step.id for step in found.files.app.steps] == ["sort", "shout"]
    assert [step.id for step in found.brief.app.steps] == ["sort"]


def test_an_adapter_goes_with_its_model(project: Project) -> None:
    """Another base drops the step's adapter; an adapter of another base is refused; digests tell candidates apart."""
    write_adapter(project.root / "models/adapters/sorter/1.0.0")
    project.edit("suites/desk/app.yaml", "    model: tiny\n", "    model: tiny\n    adapter: sorter/1.0.0\n")
    more = "  - {id: other, model: other}\n  - {id: unfit, model: other, adapter: sorter/1.0.0}\n"
    project.write({FILE: HEAD + more + "  - {id: none, adapter: null}\n"})
    assert built(project, "bare").step.adapter == "sorter/1.0.0"
    assert built(project, "other").step.adapter is None and not built(project, "other").files.adapters
    with pytest.raises(UsageError, match=r"adapter sorter/1\.0\.0 was trained on tiny"):
        built(project, "unfit")
    assert len({built(project, name).files.digest for name in ("bare", "other", "none")}) == 3
    assert built(project, "bare").files.digest == built(project, "bare").files.digest


def test_two_at_once_train_once(project: Project) -> None:
    """Whoever comes second waits for what the first one trains."""
    trainer = Trainer()
    place = shop(project, trainer)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: make(place, candidate(project, "lora-2")), range(4)))
    assert trainer.orders == ["lora 2"]
    assert len({each.adapter for each in made if each}) == 1


@pytest.mark.slow
def test_trainer_of_this_project(project: Project) -> None:
    """LoRA and IA3 are trained from the mart by what ``signoff finetune`` runs, once; the result fits its base."""
    pytest.importorskip("duckdb")
    quick = "training: {epochs: 2, precision: float32, learning_rate: 0.02, threads: 1, sequence_length: 128}"
    project.edit("models/adapters/sorter/recipe.yaml", "licence: MIT", f"licence: MIT\n{quick}")
    place = Workshop(load_repository(project.root), cache_home(), own_training(), show=False)
    lora, ia3 = (make(place, candidate(project, name)) for name in ("lora-2", "ia3"))
    assert lora is not None and ia3 is not None and ia3.model is not None
    version = lora.version()
    assert version is not None and version.manifest.base == "tiny"
    assert lora.seconds > 0 and ia3.seconds > 0 and lora.bytes > ia3.bytes
    again = make(replace(place, may_train=False), candidate(project, "lora-2"))
    assert again == lora
    assert project.git("status", "--porcelain").splitlines() == ["M models/adapters/sorter/recipe.yaml"]


def test_what_breaks_leaves_the_others(project: Project) -> None:
    """A training that fails and a model without bytes are named in one line and marked broken; the rest is compared.

    Nothing half-trained is taken for whole later.
    """
    text = (project.root / "models/other/model.yaml").read_text(encoding="utf-8")
    lost = text.replace("name: other", "name: lost").replace("cd" * 32, "ef" * 32)
    more = "  - {id: fails, recipe: {name: sorter, method: {rank: 13}}}\n  - {id: lost, model: lost}\n"
    project.write({"models/lost/model.yaml": lost, FILE: HEAD + more + "  - {id: other, model: other}\n"})
    trainer = Trainer()
    found = compared(project, trainer)
    assert [record["id"] for record in found.data["candidates"]] == ["bare", "other"]
    failed, unread = found.data["not_measured"]
    assert failed == {"id": "fails", "reason": "RuntimeError: the loss is not a number", "broken": True}
    assert (unread["id"], unread["broken"]) == ("lost", True) and "never-read" in unread["reason"]
    assert make(shop(project, trainer, may_train=False), candidate(project, "fails")) is None


def test_merged_model_computes_what_the_adapter_does(project: Project) -> None:
    """The merged copy gives the logits of base and IA3 together, and not those of the base."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = make(shop(project, Trainer()), candidate(project, "ia3"))
    assert made is not None and made.model is not None
    base, merged = (
        AutoModelForCausalLM.from_pretrained(model_folder(each, project.root, cache_home()))
        for each in (load_repository(project.root).models["tiny"], made.model)
    )
    (adapter,) = cache_home().glob("built/candidate-*/sorter/1.0.0")
    tokens = torch.arange(30).reshape(1, 30)
    with torch.inference_mode():
        plain, whole = base(tokens).logits, merged(tokens).logits
        wanted = PeftModel.from_pretrained(base, str(adapter)).eval()(tokens).logits
    torch.testing.assert_close(whole, wanted, atol=1e-3, rtol=1e-3)
    assert (plain - whole).abs().max() > 0.1


def test_adapter_that_changes_nothing_is_broken(project: Project) -> None:
    """An IA3 of ones would be the bare model under another name."""
    import safetensors.torch

    trainer = Trainer()
    inner = trainer.training

    def idle(order: Any) -> float:
        seconds = inner.train(order)
        file = order.out / "adapter_model.safetensors"
        tensors = safetensors.torch.load_file(file)
        safetensors.torch.save_file({name: tensor * 0 + 1 for name, tensor in tensors.items()}, file)
        return seconds

    still = Workshop(load_repository(project.root), cache_home(), Training(idle, inner.identity))
    with pytest.raises(SignoffError, match="changes nothing when it is merged"):
        make(still, candidate(project, "ia3"))


def test_committed_adapter(project: Project) -> None:
    """An adapter of the tree is measured as it is, ``adapter: null`` takes the step's own away, a gap is named."""
    write_adapter(project.root / "models/adapters/sorter/1.0.0")
    folder = write_adapter(project.root / "models/adapters/sorter/1.1.0")
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["provenance"]["parent"] = "sorter/1.0.0"
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))
    project.edit("suites/desk/app.yaml", "    model: tiny\n", "    model: tiny\n    adapter: sorter/1.0.0\n")
    more = ["{id: none, adapter: null}", "{id: later, adapter: sorter/1.1.0}", "{id: missing, adapter: sorter/2.0.0}"]
    project.write({FILE: HEAD + "".join(f"  - {each}\n" for each in more)})
    found = compared(project, Trainer())
    told = {record["id"]: record for record in found.data["candidates"]}
    assert told["bare"]["method"] == "adapter sorter/1.0.0" and told["bare"]["build_seconds"] is None
    assert told["later"]["method"] == "adapter sorter/1.1.0, going on from sorter/1.0.0"
    assert (told["none"]["method"], told["none"]["adapter"]) == ("not tuned", "")
    (lost,) = found.data["not_measured"]
    assert lost["reason"] == "adapter 'sorter/2.0.0' is not built; build it with: signoff finetune sorter"


def test_trained_weights_that_were_damaged(project: Project) -> None:
    """Bytes in the cache that are not what was trained are made anew, not served."""
    trainer = Trainer()
    made = make(shop(project, trainer), candidate(project, "lora-2"))
    assert made is not None and made.adapter is not None
    with (made.adapter / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    again = make(shop(project, trainer), candidate(project, "lora-2"))
    assert trainer.orders == ["lora 2", "lora 2"]
    assert again is not None and again.version() is not None


def test_peak_memory_of_a_process(tmp_path: Path) -> None:
    """It is what the kernel says, in bytes; of a process that is gone nobody knows."""
    known = peak_bytes(os.getpid())
    assert known is not None and known > 10 * 2**20
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tx\nVmHWM:\t  1024 kB\n")
    assert peak_bytes(7, tmp_path) == 2**20
    assert peak_bytes(8, tmp_path) is None


@pytest.mark.parametrize(("free_gb", "fits"), [(64, True), (4, False)])
def test_what_does_not_fit_side_by_side(tmp_path: Path, free_gb: int, fits: bool) -> None:
    """Two models of 1.5 billion parameters in bfloat16 need 7 GB; endpoints need none here."""
    local: Callable[..., Model] = lambda **more: Model.model_validate(  # noqa: E731
        {"name": "m", "source": "path:x", "sha256": "0" * 64, "licence": "MIT", "context": 8, **more}
    )
    big = local(parameters=1_500_000_000, dtype="bfloat16")
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {free_gb * 2**20} kB\n")
    assert one_of_each([big, big], tmp_path / "meminfo") is fits
    remote = big.model_copy(update={"engine": "openai"})
    assert one_of_each([remote, remote], tmp_path / "meminfo")
