"""Two versions of a prompt measured against each other: the gate's own measuring, and no decision."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import SignoffError, UsageError
from harness.run.differences import Difference, changed_answers, differences
from harness.run.options import Options
from harness.run.plan import Plan, code_problems
from harness.run.prompt_versions import two_versions
from harness.run.stages.record import Context
from harness.run.stages.regression import measure
from harness.spec.apps import LlmStep
from harness.spec.git import Revision
from harness.spec.prompts import Prompt
from harness.spec.repository import AppFiles, Repository, load_repository
from harness.spec.step_prompts import unbound
from harness.store import RunFolder, digest_of


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two versions of ``stem`` did in ``app``; differences are second minus first.

    ``steps`` are those that were asked with either version, ``unruled`` those of them whose rules were set aside for
    it. ``changed`` counts the cases whose answer differs.
    """

    stem: str
    versions: tuple[str, str]
    app: str
    steps: tuple[str, ...]
    unruled: tuple[str, ...]
    cases: int
    changed: int
    metrics: tuple[Difference, ...]
    model_calls: int
    cached_calls: int

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain data."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "stem"}
        return {"prompt": self.stem, **plain, "metrics": [metric.as_dict() for metric in self.metrics]}


def compare(options: Options, stem: str, first: str, second: str) -> Comparison:
    """Ask every case of the app with both versions; ``options.apps`` names the app where several use the prompt.

    The app is that of the working tree but for this prompt. Nothing is kept but the generation cache. UsageError for
    what cannot be compared, SignoffError when the measuring broke off.
    """
    old, new = two_versions(options.root, stem, first, second)
    repository = load_repository(options.root)
    app = _app(repository, stem, options.apps)
    files = repository.apps[app]
    steps = _using(files, stem)
    if wanting := [text for step in steps for version in (old, new) for text in unbound(step, version.prompt)]:
        message = f"app {app!r} cannot be asked with both versions: {'; '.join(wanting)}"
        raise UsageError(message)
    arms = [_with_prompt(files, stem, version.prompt) for version in (old, new)]
    plan = _plan(repository, app, arms[0], arms[1])
    if wrong := code_problems(plan.repository):
        raise UsageError.of(wrong)
    suite = repository.suites[app]
    with tempfile.TemporaryDirectory(prefix="signoff-compare-") as scratch:
        folder = RunFolder.create(Path(scratch))
        stage = measure(Context(replace(options, apps=(app,)), plan, folder, (app,)))
        if stage.broken:
            message = f"the comparison broke off ({stage.broken}); finished answers are in the cache, run it again"
            raise SignoffError(message)
        outputs = folder.path / "artifacts" / stage.name / "outputs.jsonl"
        found = differences(app, suite, options.root, folder.path / "measurements" / f"{stage.name}.jsonl", outputs)
        cases, changed = changed_answers(outputs)
    return Comparison(
        stem=stem,
        versions=(first, second),
        app=app,
        steps=tuple(step.id for step in steps),
        unruled=tuple(step.id for step in steps if step.branches),
        cases=cases,
        changed=changed,
        metrics=found,
        model_calls=stage.model_calls,
        cached_calls=stage.cached_calls,
    )


def _using(files: AppFiles, stem: str) -> tuple[LlmStep, ...]:
    """The steps that may be asked with a version of the prompt."""
    steps = (step for step in files.app.steps if isinstance(step, LlmStep))
    return tuple(step for step in steps if any(key.startswith(f"{stem}/") for key in step.prompts))


def _app(repository: Repository, stem: str, wanted: Sequence[str]) -> str:
    users = [name for name, files in repository.apps.items() if _using(files, stem)]
    if wanted and wanted[0] not in users:
        message = f"app {wanted[0]!r} has no step with prompt {stem}; apps that have: {', '.join(users) or 'none'}"
        raise UsageError(message)
    if not wanted and len(users) != 1:
        there = f"several apps use prompt {stem}" if users else f"no app uses prompt {stem}"
        message = f"{there}; " + (f"give --app, one of: {', '.join(users)}" if users else "name it in an app.yaml")
        raise UsageError(message)
    return wanted[0] if wanted else users[0]


def _with_prompt(files: AppFiles, stem: str, prompt: Prompt) -> AppFiles:
    """The app with ``prompt`` in every step that uses ``stem``: another digest, which no evidence matches."""
    chosen, parts = {step.id for step in _using(files, stem)}, dict(files.parts)
    steps = []
    for step in files.app.steps:
        if isinstance(step, LlmStep) and step.id in chosen:
            # A version is given what it reads, and not what only another one reads.
            inputs = {name: source for name, source in step.inputs.items() if name in prompt.front.inputs}
            step = step.model_copy(update={"prompt": prompt.key, "inputs": inputs})
            parts[f"steps.{step.id}"] = digest_of([parts[f"steps.{step.id}"], prompt.key, prompt.digest])
        steps.append(step)
    app = files.app.model_copy(update={"steps": tuple(steps)})
    return replace(files, app=app, prompts={**files.prompts, prompt.key: prompt}, parts=parts)


def _plan(repository: Repository, app: str, first: AppFiles, second: AppFiles) -> Plan:
    only = replace(repository, apps={app: second}, suites={app: repository.suites[app]})
    revision = Revision("", None, "two versions of one prompt are compared")
    return Plan(only, revision, None, {app: first}, served=False)
