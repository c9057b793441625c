"""The plan of a run: the candidate's files, the baseline's files, and which arms must be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import Problem, UsageError
from harness.run.options import Options
from harness.serve.steps.function_step import load_function
from harness.serve.steps.http_step import target_digest
from harness.spec.apps import FunctionStep, HttpStep, LlmStep
from harness.spec.git import Revision, edited_releases, extract, find_baseline
from harness.spec.repository import AppFiles, Repository, load_repository
from harness.store import convert_once


@dataclass(frozen=True)
class Plan:
    """What will be measured. ``baselines`` holds only apps that exist at the baseline.

    ``served`` is false for arms that were made for a comparison and that no gateway serves. ``suite_root`` is the tree
    of the suites where that is another one than the candidate's.
    """

    repository: Repository
    revision: Revision
    baseline_root: Path | None
    baselines: Mapping[str, AppFiles]
    warnings: tuple[str, ...] = field(default=())
    served: bool = True
    suite_root: Path | None = None

    def changed(self, app: str) -> bool:
        """Whether the app has a baseline with another digest, so that both arms must be measured."""
        return app in self.baselines and self.baselines[app].digest != self.repository.apps[app].digest

    def changes(self, app: str) -> list[str]:
        """What differs between the arms, in words."""
        if app not in self.baselines:
            return [f"{app}: new app, no baseline"]
        return describe(self.baselines[app], self.repository.apps[app])


def make_plan(options: Options) -> Plan:
    """Read both trees; UsageError for invalid files, a released prompt edited in place, an unusable baseline."""
    repository = load_repository(options.root, only=options.apps)
    if wrong := code_problems(repository):
        raise UsageError.of(wrong)
    if options.profile == "release" and (silent := unmonitored(repository)):
        raise UsageError.of(silent)
    revision = find_baseline(options.root, options.baseline)
    tree, baselines = None, {}
    if revision.commit is not None:
        tree = _baseline_tree(options, revision.commit)
        problems = edited_releases(options.root, tree, revision.commit)
        if problems:
            raise UsageError.of(problems)
        present = [name for name in repository.apps if (tree / "suites" / name / "app.yaml").is_file()]
        baselines = dict(_load_baseline(tree, present, revision)) if present else {}
    for name, files in repository.apps.items():
        if any(isinstance(step, HttpStep) and step.baseline_url for step in files.app.steps):
            baselines[name] = as_baseline(baselines.get(name, files))
    return Plan(repository, revision, tree, baselines)


def unmonitored(repository: Repository) -> list[Problem]:
    """Apps that promise nothing once they run: nobody would notice that a release breaks what the gate did not see."""
    say = "is missing: write what the running app promises, as indicators with at_least or at_most (docs/monitoring.md)"
    return [
        Problem(f"suites/{name}/monitor.yaml", None, f"{say}; the profile release asks for it")
        for name, suite in repository.suites.items()
        if suite.monitor is None
    ]


def code_problems(repository: Repository) -> list[Problem]:
    """What is wrong with the suites' own code and with the settings of their checks."""
    from harness.evals import bind_checks, rewriting

    problems: list[Problem] = []
    for name, files in repository.apps.items():
        for step in files.app.steps:
            if isinstance(step, FunctionStep):
                try:
                    load_function(files.folder, step.function)
                except UsageError as error:
                    problems.append(Problem(f"suites/{name}/app.yaml", None, f"step {step.id!r}: {error}"))
    for name, suite in repository.suites.items():
        shown = f"suites/{name}/suite.yaml"
        try:
            bind_checks(suite.suite, repository.root / "suites" / name, shown)
        except UsageError as error:
            problems += error.problems or [Problem(shown, None, str(error))]
        for rule in suite.suite.properties:
            try:
                rewriting(rule.transform, repository.root / "suites" / name)
            except UsageError as error:
                problems.append(Problem(shown, None, f"property {rule.id!r}: {error}"))
    return problems


def _baseline_tree(options: Options, commit: str) -> Path:
    return convert_once(f"baseline-{commit}", options.cache, lambda out: extract(options.root, commit, out))


def _load_baseline(tree: Path, present: list[str], revision: Revision) -> Mapping[str, AppFiles]:
    try:
        return load_repository(tree, with_suites=False, only=present).apps
    except UsageError as error:
        message = f"the baseline {revision.ref} ({(revision.commit or '')[:12]}) cannot be read:\n{error}"
        raise UsageError(message) from error


def as_baseline(files: AppFiles) -> AppFiles:
    """The app with each http step's baseline URL in place of its own."""
    steps, parts = [], dict(files.parts)
    for step in files.app.steps:
        if isinstance(step, HttpStep) and step.baseline_url:
            step = step.model_copy(update={"url": step.baseline_url, "baseline_url": None})
            parts[f"steps.{step.id}"] = target_digest(step)
        steps.append(step)
    return replace(files, app=files.app.model_copy(update={"steps": tuple(steps)}), parts=parts)


def describe(old: AppFiles, new: AppFiles) -> list[str]:
    """The differences between two versions of an app, one line each."""
    lines = []
    before = {step.id: step for step in old.app.steps}
    for step in new.app.steps:
        was = before.pop(step.id, None)
        if was is None:
            lines.append(f"{new.name}: new step {step.id}")
        elif old.parts.get(f"steps.{step.id}") != new.parts.get(f"steps.{step.id}"):
            lines.append(f"{new.name}: {_difference(step.id, was, step, old, new)}")
    lines += [f"{new.name}: step {name} removed" for name in before]
    if not lines and old.digest != new.digest:
        lines.append(f"{new.name}: inputs, seed or output changed in app.yaml")
    return lines


def _difference(name: str, was: object, now: object, old: AppFiles, new: AppFiles) -> str:
    if isinstance(was, LlmStep) and isinstance(now, LlmStep) and was.prompt != now.prompt:
        if isinstance(was.prompt, str) and isinstance(now.prompt, str):
            return f"prompt {was.prompt} -> {now.prompt.rsplit('/', 1)[-1]}"
        return f"prompt rules of step {name}: {', '.join(was.prompts)} -> {', '.join(now.prompts)}"
    models = (getattr(was, "model", None), getattr(now, "model", None))
    if models[0] and models[1]:
        digests = (old.models[models[0]].digest[:12], new.models[models[1]].digest[:12])
        if digests[0] != digests[1]:
            return f"model of step {name}: {models[0]} ({digests[0]}) -> {models[1]} ({digests[1]})"
    keys = sorted(key for key in type(now).model_fields if getattr(was, key, None) != getattr(now, key, None))  # type: ignore[attr-defined]
    changed = [*keys, *(["its function or data files"] if not keys or _other_files(was, now, old, new) else [])]
    return f"step {name}: {' and '.join(filter(None, (', '.join(changed[:-1]), changed[-1])))} changed"


def _other_files(was: object, now: object, old: AppFiles, new: AppFiles) -> bool:
    if not isinstance(was, FunctionStep) or not isinstance(now, FunctionStep):
        return False
    names = {step.function.split(":")[0] for step in (was, now)} | {*was.files, *now.files}
    return any(_content(old, name) != _content(new, name) for name in names)


def _content(files: AppFiles, name: str) -> bytes | None:
    path = files.folder / name
    return path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else None
