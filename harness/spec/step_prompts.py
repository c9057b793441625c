"""A model step beside the prompt files that may answer for it: are they there, and do they take what it binds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.spec import conditions, language
from harness.spec.apps import FunctionStep, HttpStep, LlmStep
from harness.spec.prompt_rules import OTHERWISE, PromptChoice
from harness.spec.prompts import Prompt
from harness.spec.yaml_file import Path_


def prompt_problems(step: LlmStep, known: Mapping[str, Prompt]) -> list[tuple[Path_, str]]:
    """What is wrong with the versions that the step names, each with its place in the step."""
    wrong = []
    for loc, key in _named(step):
        if key not in known:
            stem = key.rsplit("/", 1)[0]
            there = sorted(other for other in known if other.startswith(stem + "/"))
            wrong.append((loc, f"step {step.id!r}: no prompt {key!r}; there are: {', '.join(there) or 'none'}"))
    found = [known[key] for key in step.prompts if key in known]
    wrong += [(("inputs", name), text) for name, text in _taken_by_none(step, found)]
    return wrong + [(("inputs",), text) for prompt in found for text in unbound(step, prompt)]


def _named(step: LlmStep) -> Iterator[tuple[Path_, str]]:
    if not isinstance(step.prompt, PromptChoice):
        yield ("prompt",), step.prompt
        return
    for place, rule in enumerate(step.prompt.choose):
        yield ("prompt", "choose", place, "use"), rule.use
    yield ("prompt", OTHERWISE), step.prompt.otherwise


def _taken_by_none(step: LlmStep, prompts: Sequence[Prompt]) -> Iterator[tuple[str, str]]:
    takes = "; ".join(f"prompt {prompt.key} declares {', '.join(prompt.front.inputs) or 'none'}" for prompt in prompts)
    for name in sorted(set(step.inputs).difference(*(prompt.front.inputs for prompt in prompts)) if prompts else ()):
        yield name, f"step {step.id!r} binds {name!r}; {takes}"


def unbound(step: LlmStep, prompt: Prompt) -> list[str]:
    """The inputs that ``prompt`` requires and the step does not bind."""
    declared = prompt.front.inputs
    given = set(step.inputs) | ({"options"} if "options" in declared and step.output.kind == "choice" else set())
    return [
        f"step {step.id!r} does not bind input {name!r}, which prompt {prompt.key} requires"
        for name, spec in declared.items()
        if spec.required and spec.default is None and name not in given
    ]


def prompt_identity(step: LlmStep, known: Mapping[str, Prompt]) -> Any:
    """What the app's digest holds of the step's prompts: the digest, or that of each version that may be chosen."""
    digests = {key: known[key].digest if key in known else "" for key in step.prompts}
    return digests if isinstance(step.prompt, PromptChoice) else digests[step.prompt]


def missing_packages(step: LlmStep | FunctionStep | HttpStep) -> list[tuple[Path_, str]]:
    """Conditions of the step that cannot be computed in this environment."""
    if language.installed():
        return []
    return [
        (loc, f"step {step.id!r}: {language.MISSING}")
        for loc, text in step.conditions
        if conditions.reads(text, "context", "language")
    ]
