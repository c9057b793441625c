"""Checks that fit what a step does, proposed where the suite has none for it."""

from __future__ import annotations

from collections.abc import Mapping

from harness.spec.apps import LlmStep, Task
from harness.spec.repository import Repository, SuiteFiles

FITTING: Mapping[Task, Mapping[str, str]] = {
    "classification": {
        "label_match": "the share of cases with the right label",
        "field_match": "the same of a label inside a JSON answer",
        "one_of": "that nothing but a known label is said",
    },
    "extraction": {
        "field_match": "each field against the expected value",
        "json_schema": "that the fields are there, in the right types",
        "equals": "the whole value at once",
    },
    "summarisation": {
        "rouge": "the words shared with a reference, rouge2 or rougeL",
        "no_new_entities": "that no name and no number is made up",
        "length": "that it stays short",
    },
    "rewriting": {
        "edit_similarity": "how close it is to the expected text",
        "no_new_entities": "that nothing is added to the source",
        "normalised_match": "the share of cases rewritten exactly as expected",
    },
    "generation": {
        "judge/<name>": "a judge with labels of people, for what no code can tell",
        "contains_all": "facts that must be said",
        "no_urls_outside": "that no foreign link is given",
    },
}
"""By task: shipped checks that fit, and what each tells."""

_OWN_CODE = ("python", "promptfoo")


def proposals(repository: Repository) -> list[str]:
    """One sentence for each model step that states its task and that no fitting check of its suite looks at."""
    return [
        _sentence(name, step, step.task)
        for name, suite in repository.suites.items()
        for step in repository.apps[name].app.steps
        if isinstance(step, LlmStep)
        and step.task is not None
        and not _looked_at(suite, step, _answers(repository, name))
    ]


def _answers(repository: Repository, name: str) -> str:
    """The id of the step whose output is the app's answer, empty when it is none's."""
    head, step = repository.apps[name].app.result.split(".")[:2]
    return step if head == "steps" else ""


def _looked_at(suite: SuiteFiles, step: LlmStep, answers: str) -> bool:
    """Whether a check that fits the task, or one of the suite's own code, looks at the step's output."""
    assert step.task is not None, "only a step with a task has fitting checks"
    fitting = FITTING[step.task]
    for check in suite.suite.checks:
        at = check.step or answers
        kind = "judge/<name>" if check.graded else check.check
        if at == step.id and (kind in fitting or kind in _OWN_CODE):
            return True
    return False


def _sentence(app: str, step: LlmStep, task: Task) -> str:
    ways = "; ".join(f"{name} ({why})" for name, why in FITTING[task].items())
    return f"{app}: step {step.id!r} does {task}, and no check that fits looks at its output; such checks are: {ways}"
