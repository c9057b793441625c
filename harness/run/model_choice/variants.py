"""From an app and a candidate to the app as it would be, cut down to the steps that the quality needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.run.model_choice.made import Made, read_adapter
from harness.spec.adapters import AdapterVersion, unfit
from harness.spec.apps import App, LlmStep
from harness.spec.candidates import Candidate, Candidates
from harness.spec.models import Model
from harness.spec.prompts import Prompt, load_prompt
from harness.spec.repository import AppFiles, Repository
from harness.spec.step_prompts import prompt_identity, unbound
from harness.spec.suites import CheckSpec
from harness.store import digest_of


@dataclass(frozen=True, slots=True)
class Variant:
    """One candidate ready to be asked: ``files`` hold every step that the quality needs, ``brief`` those before and
    with the varied step, which answers under ``step``."""

    candidate: Candidate
    files: AppFiles
    brief: AppFiles
    step: LlmStep
    model: Model
    adapter: AdapterVersion | None
    made: Made | None

    @property
    def id(self) -> str:
        """The candidate's id."""
        return self.candidate.id


def variant(
    repository: Repository, app: str, found: Candidates, candidate: Candidate, check: CheckSpec, made: Made | None
) -> Variant:
    """The app with the candidate in place of its step; UsageError says why it cannot be asked."""
    files = repository.apps[app]
    step, prompts = _step(files, found.step, candidate, made)
    model = _model(repository, step, made)
    adapter = made.version() if made else _adapter(files.root, step, model)
    if made and adapter and (why := unfit(adapter, model)):
        raise UsageError(f"candidate {candidate.id!r}: {why}")
    content: dict[str, Any] = {
        "step": step.identity(),
        "prompt": prompt_identity(step, prompts),
        "model": model.digest,
        "adapter": adapter.digest if adapter else step.adapter,
    }
    changed = replace(
        files,
        app=_with_step(files.app, step),
        prompts={**files.prompts, **prompts},
        models={**files.models, model.name: model},
        adapters={**files.adapters, **({step.adapter: adapter} if adapter and step.adapter else {})},
        parts={**files.parts, f"steps.{step.id}": digest_of(content)},
    )
    ends = [step.id, check.step] if check.step else [step.id, *_read_by(changed.app.result)]
    output = f"steps.{check.step}.output" if check.step else changed.app.result
    full = _cut(changed, ends, output)
    brief = _cut(changed, [step.id], f"steps.{step.id}.output")
    return Variant(candidate, full, brief, step, model, adapter, made)


def _step(files: AppFiles, name: str, candidate: Candidate, made: Made | None) -> tuple[LlmStep, dict[str, Prompt]]:
    step = files.app.step(name)
    assert isinstance(step, LlmStep), "the file was checked against the app"
    update = dict(candidate.fields)
    if made is not None:
        update |= _of_made(candidate, made)
    elif "model" in update and "adapter" not in update and update["model"] != step.model:
        # An adapter belongs to one base: with another one the step's own would be refused.
        update["adapter"] = None
    step = step.model_copy(update=update)
    prompts = {key: files.prompts[key] for key in step.prompts if key in files.prompts}
    for key in step.prompts:
        if key not in prompts:
            prompts[key] = _prompt(files.root, key)
    if candidate.prompt is not None:
        declared = prompts[candidate.prompt].front.inputs
        # A version is given what it reads, and not what only another one reads.
        step = step.model_copy(update={"inputs": {k: v for k, v in step.inputs.items() if k in declared}})
    if wanting := [text for prompt in prompts.values() for text in unbound(step, prompt)]:
        raise UsageError(f"candidate {candidate.id!r}: {'; '.join(wanting)}")
    return step, prompts


def _of_made(candidate: Candidate, made: Made) -> dict[str, Any]:
    if made.model is not None:
        return {"model": made.model.name, "adapter": None}
    version = made.version()
    assert version is not None, "a trained candidate is a model or an adapter"
    return {"model": version.manifest.base, "adapter": f"{candidate.id}/{version.manifest.version}"}


def _prompt(root: Path, key: str) -> Prompt:
    prompt, problems = load_prompt(root / "prompts" / f"{key}.prompty", root)
    if prompt is None:
        raise UsageError.of(problems)
    return prompt


def _model(repository: Repository, step: LlmStep, made: Made | None) -> Model:
    if made is not None and made.model is not None:
        return made.model
    if step.model not in repository.models:
        known = ", ".join(sorted(repository.models)) or "none"
        raise UsageError(f"step {step.id!r}: no model {step.model!r}; there are: {known}")
    return repository.models[step.model]


def _adapter(root: Path, step: LlmStep, model: Model) -> AdapterVersion | None:
    if not step.adapter:
        return None
    if not model.pinned:
        if step.adapter not in model.adapters:
            known = ", ".join(model.adapters) or "none"
            raise UsageError(f"model {model.name!r} names no adapter {step.adapter!r}; it names: {known}")
        return None
    folder = root / "models" / "adapters" / step.adapter
    if not folder.is_dir():
        name = step.adapter.split("/")[0]
        raise UsageError(f"adapter {step.adapter!r} is not built; build it with: signoff finetune {name}")
    version = read_adapter(folder, folder.relative_to(root).as_posix())
    if why := unfit(version, model):
        raise UsageError(why)
    return version


def _with_step(app: App, step: LlmStep) -> App:
    return app.model_copy(update={"steps": tuple(step if each.id == step.id else each for each in app.steps)})


def _read_by(reference: str) -> list[str]:
    head, name = reference.split(".")[:2]
    return [name] if head == "steps" else []


def _cut(files: AppFiles, ends: Iterable[str], output: str) -> AppFiles:
    """The app with ``ends`` and whatever they need, answering with ``output``."""
    needed: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += files.app.step(name).references
    steps = tuple(step for step in files.app.steps if step.id in needed)
    llm = [step for step in steps if isinstance(step, LlmStep)]
    parts = {key: value for key, value in files.parts.items() if not key.startswith("steps.")}
    parts |= {f"steps.{step.id}": files.parts[f"steps.{step.id}"] for step in steps} | {"result": output}
    used = {step.model for step in llm}
    return replace(
        files,
        app=files.app.model_copy(update={"steps": steps, "output": output}),
        models={name: model for name, model in files.models.items() if name in used},
        adapters={key: each for key, each in files.adapters.items() if key in {step.adapter for step in llm}},
        parts=parts,
    )
