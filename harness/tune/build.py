"""From a recipe to a built adapter version: what it is made from, the training process, folder and manifest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from harness.data.marts import BuiltMart, build_mart
from harness.errors import EXIT_USAGE, SignoffError, UsageError
from harness.serve.engine.hub import model_folder
from harness.serve.engine.loader import THREADS, device
from harness.spec.adapters import (
    ADAPTERS,
    CARD,
    CONFIG,
    MANIFEST,
    WEIGHTS,
    AdapterManifest,
    AdapterVersion,
    load_adapter,
    unfit,
)
from harness.spec.git import git
from harness.spec.models import Model
from harness.spec.prompts import Prompt
from harness.spec.recipes import Recipe
from harness.spec.repository import load_shared
from harness.store import digest_file, digest_of, write_atomic
from harness.store.files import locked, room_for
from harness.tune.card import model_card
from harness.tune.job import DONE, FAILED, Job
from harness.tune.provenance import environment, summary
from harness.tune.stored import put_weights

RESULTS = "results.json"
# What other builds put into the tree is no edit of what this one is made from.
_NOT_BUILT = f":(exclude,glob){ADAPTERS}/*/*/**"
_ROOM = "put the repository on a larger disk"
_MODULE, _RESULTS_MODULE = "harness.tune.child", "harness.tune.results"


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What to build: ``recipe`` in the repository at ``root``, into the folder ``out``.

    ``processes`` train together (``accelerate launch``) and share each batch. ``show`` puts progress on standard error.
    Without ``judged`` nothing is asked of the adapter when it stands: whoever compares it asks more.
    """

    root: Path
    cache: Path
    recipe: Recipe
    out: Path
    processes: int = 1
    show: bool = True
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Tuned:
    """A built adapter version: seconds of training, bytes of weights; ``fresh`` is false when it was built before.

    ``reworded`` says that of a version built before the card was written anew.
    """

    folder: Path
    manifest: AdapterManifest
    seconds: float
    bytes: int
    fresh: bool = True
    reworded: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that an adapter is made from."""

    recipe: Recipe
    model: Model
    prompt: Prompt
    mart: BuiltMart
    parent: AdapterVersion | None

    @property
    def provenance(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {
            "mart": self.recipe.mart,
            "mart_digest": self.mart.digest,
            "recipe_digest": self.recipe.digest,
            "prompt": self.recipe.prompt,
            "prompt_digest": self.prompt.digest,
            "parent": self.recipe.parent,
            "parent_digest": self.parent.digest if self.parent else None,
        }

    @property
    def digest(self) -> str:
        """sha256 over all of them: the same digest, the same adapter (on one thread of one machine, to the byte)."""
        return digest_of({**self.provenance, "base_sha256": self.model.sha256})

    def differs_from(self, manifest: AdapterManifest) -> list[str]:
        """What a built version was made from that is another thing now, in words."""
        now, then = self.provenance, manifest.provenance
        moved = [name for name in ("mart", "recipe", "prompt", "parent") if _digest(now, name) != _digest(then, name)]
        return moved if self.model.sha256 == manifest.base_sha256 else ["base", *moved]


def _digest(provenance: Mapping[str, Any], name: str) -> Any:
    return provenance.get(f"{name}_digest")


def inputs_of(root: Path, cache: Path, recipe: Recipe) -> Inputs:
    """Everything that ``recipe`` names, its mart built; UsageError for what is not there or cannot be trained."""
    shared = load_shared(root)
    path = f"{ADAPTERS}/{recipe.name}/recipe.yaml"
    model = shared.models.get(recipe.base)
    if model is None or model.engine != "transformers":
        known = ", ".join(sorted(name for name, each in shared.models.items() if each.engine == "transformers"))
        raise UsageError(f"{path}: base {recipe.base!r} is no model with weights here; there are: {known or 'none'}")
    prompt = shared.prompts.get(recipe.prompt)
    if prompt is None:
        raise UsageError(f"{path}: no prompt {recipe.prompt!r}; it would be prompts/{recipe.prompt}.prompty")
    parent = _parent(root, recipe, model)
    return Inputs(recipe, model, prompt, build_mart(root, recipe.mart, cache), parent)


def _parent(root: Path, recipe: Recipe, model: Model) -> AdapterVersion | None:
    if recipe.parent is None:
        return None
    shown = f"{ADAPTERS}/{recipe.parent}"
    found, problems = load_adapter(root / shown, shown)
    if found is None:
        raise UsageError.of(problems)
    if why := unfit(found, model):
        raise UsageError(f"{ADAPTERS}/{recipe.name}/recipe.yaml: parent: {why}")
    return found


def finetune(request: TuneRequest, inputs: Inputs | None = None) -> Tuned:
    """Build an adapter version, or return the one in ``out`` that was built from exactly these inputs.

    The card of the latter is written anew where the recipe's words for people are others now: what an adapter is worth
    is known when it stands.
    ``inputs`` are those of the recipe, where the caller has them already. Checkpoints lie in the cache by the inputs'
    digest: a build that was killed goes on from the last one. ``out`` appears whole or not at all. Raises UsageError
    for inputs that cannot be trained, a budget that is too small and a full disk, SignoffError when the training
    process fails.
    """
    inputs = inputs or inputs_of(request.root, request.cache, request.recipe)
    if found := _unchanged(request, inputs):
        return _reworded(found, request, inputs)
    work = request.cache / "tuning" / f"{request.recipe.name}-{inputs.digest[:16]}"
    with locked(request.cache / "locks" / f"{work.name}.lock"), room_for(work):
        # Another process may have built it while this one waited.
        if found := _unchanged(request, inputs):
            return _reworded(found, request, inputs)
        job = job_of(inputs, request, work)
        if not (work / DONE).is_file():
            run_training(job, request.processes, request.show)
        results = _results(job, request)
        folder = _assemble(inputs, request, work, results)
        shutil.rmtree(work, ignore_errors=True)
    found = built(folder)
    assert found is not None
    return _tuned(found)


def _unchanged(request: TuneRequest, inputs: Inputs) -> AdapterVersion | None:
    found = built(request.out)
    return None if found is None or inputs.differs_from(found.manifest) else found


def built(folder: Path) -> AdapterVersion | None:
    """The whole adapter version in ``folder``; None when there is none, UsageError for one that is damaged."""
    if not (folder / MANIFEST).is_file():
        return None
    found, problems = load_adapter(folder, str(folder))
    if found is None:
        wrong = "; ".join(map(str, problems))
        raise UsageError(f"{wrong}. Restore what was committed, or remove the folder to have it built again", problems)
    return found


def _tuned(version: AdapterVersion) -> Tuned:
    training = version.manifest.provenance.get("training", {})
    size = (version.folder / WEIGHTS).stat().st_size
    return Tuned(version.folder, version.manifest, float(training.get("seconds", 0.0)), size)


def _reworded(version: AdapterVersion, request: TuneRequest, inputs: Inputs) -> Tuned:
    card, place = model_card(version.manifest, request.recipe, inputs).encode(), version.folder / CARD
    same = place.is_file() and place.read_bytes() == card
    if not same:
        write_atomic(place, card, _ROOM)
    return replace(_tuned(version), fresh=False, reworded=not same)


def job_of(inputs: Inputs, request: TuneRequest, work: Path) -> Job:
    """The training of ``inputs`` as the child processes read it, written into ``work``."""
    recipe, mart = inputs.recipe, inputs.mart
    names = {"train": recipe.rows.split, "validation": recipe.rows.validation}
    # What nothing was decided on is the fairest; a mart without such a split is measured where training stopped.
    held = [name for name in mart.counts if name not in names.values()]
    rows = {use: mart.split(name) for use, name in (names | {"test": held[0] if held else names["validation"]}).items()}
    model = model_folder(inputs.model, request.root, request.cache)
    parent = inputs.parent.folder if inputs.parent else None
    job = Job(recipe, request.root, model, request.root / inputs.prompt.path, rows, work, parent)
    job.write()
    return job


def run_training(job: Job, processes: int, show: bool) -> None:
    """Train a written ``job`` in ``processes`` processes; UsageError and SignoffError are those of the training."""
    batch = job.recipe.training.batch_size
    if batch % processes:
        raise UsageError(f"batch_size {batch} cannot be shared by {processes} processes; it must be a multiple of that")
    command = [sys.executable, "-m"]
    environment_ = dict(os.environ)
    if processes > 1:
        command += ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--main_process_port", "0", "-m"]
        # accelerate's own name for many processes on a CPU wants MPI; torch's launcher does not.
        environment_ |= {"ACCELERATE_USE_CPU": "true"} if device() == "cpu" else {}
        share = str(max(1, len(os.sched_getaffinity(0)) // processes))
        environment_.setdefault("OMP_NUM_THREADS", share)
        environment_.setdefault(THREADS, share)
    run_child(job, [*command, _MODULE, str(job.file)], environment_, show)


def run_child(job: Job, command: list[str], environment_: Mapping[str, str], show: bool) -> None:
    """Run a child process of ``job``; what it refuses is raised here, with the exit code that it asks for."""
    (job.work / FAILED).unlink(missing_ok=True)
    done = subprocess.run(
        command,
        env={**environment_, "OMP_WAIT_POLICY": environment_.get("OMP_WAIT_POLICY", "PASSIVE")},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE if not show else None,
        stdout=subprocess.PIPE if not show else None,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    if (job.work / FAILED).is_file():
        told = orjson.loads((job.work / FAILED).read_bytes())
        raise (UsageError if told["exit_code"] == EXIT_USAGE else SignoffError)(told["message"])
    last = [line.strip() for line in (done.stderr or "").splitlines() if line.strip()][-1:]
    words = last[0] if last else "its messages stand above"
    raise SignoffError(f"{job.recipe.key}: the process ended with exit code {done.returncode}: {words}")


def _results(job: Job, request: TuneRequest) -> dict[str, Any]:
    out = job.work / RESULTS
    if request.judged and not out.is_file() and job.recipe.method.kind == "lora":
        arms = [f"adapter={job.work}", "bare=-"]
        run_child(
            job, [sys.executable, "-m", _RESULTS_MODULE, str(job.file), str(out), *arms], os.environ, request.show
        )
    found: dict[str, Any] = orjson.loads(out.read_bytes()) if out.is_file() else {}
    return found


def _assemble(inputs: Inputs, request: TuneRequest, work: Path, results: dict[str, Any]) -> Path:
    """Put the version's folder together beside ``out`` and move it there; the manifest is written last."""
    recipe, figures = inputs.recipe, orjson.loads((work / DONE).read_bytes())
    if figures["liveness"] == 0:
        raise SignoffError(f"{recipe.key}: the adapter changes nothing; look at the learning rate and at the rows")
    template, sha256 = figures.pop("tokenizer_template"), digest_file(work / WEIGHTS)
    manifest = AdapterManifest(
        name=recipe.name,
        version=recipe.version,
        base=recipe.base,
        base_sha256=inputs.model.sha256 or "",
        tokenizer_template=template,
        weights_sha256=sha256,
        weights_url=put_weights(recipe.store, work / WEIGHTS, sha256) if recipe.store else None,
        config_sha256=digest_file(work / CONFIG),
        provenance=inputs.provenance
        | {
            "environment": environment(recipe, figures),
            "commit": git(request.root, "rev-parse", "HEAD", check=False),
            "dirty": bool(git(request.root, "status", "--porcelain", "-uall", "--", ".", _NOT_BUILT, check=False)),
            "training": figures,
            "results": summary(results),
        },
    )
    scratch = request.out.with_name(f".{request.out.name}.building")
    old = request.out.with_name(f".{request.out.name}.old")
    with room_for(request.out, _ROOM):
        for left in (scratch, old):
            shutil.rmtree(left, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
            for name in (WEIGHTS, CONFIG):
                shutil.copyfile(work / name, scratch / name)
            if recipe.store:
                (scratch / ".gitignore").write_text(f"/{WEIGHTS}\n", encoding="utf-8")
            write_atomic(scratch / CARD, model_card(manifest, recipe, inputs).encode(), _ROOM)
            write_atomic(scratch / MANIFEST, dump(manifest), _ROOM)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        if request.out.exists():
            request.out.rename(old)
        scratch.rename(request.out)
        shutil.rmtree(old, ignore_errors=True)
    return request.out


def dump(manifest: AdapterManifest) -> bytes:
    """The bytes of ``manifest.json``."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(manifest.model_dump(mode="json"), option=options)
