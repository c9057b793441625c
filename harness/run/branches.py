"""Which branches of the steps that choose their prompt are reached: measured in a run, foretold by ``check``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from harness.serve.steps.callers import StepError
from harness.serve.steps.chain import Call, bind_inputs
from harness.spec.apps import LlmStep
from harness.spec.cases import CaseFile
from harness.spec.conditions import ConditionError, Facts, holds
from harness.spec.context import Context, context_of
from harness.spec.prompt_rules import OTHERWISE, Branch
from harness.spec.repository import AppFiles, Repository, SuiteFiles
from harness.spec.suites import ExternalRow

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""App to step to branch: how many cases took it."""


def choosing(files: AppFiles) -> tuple[LlmStep, ...]:
    """The steps of an app that choose their prompt by rules."""
    return tuple(step for step in files.app.steps if isinstance(step, LlmStep) and step.branches)


def measured_branches(repository: Repository, outputs: Path) -> Counts:
    """How many cases took each branch in the candidate's outputs of a run."""
    wanted = {name: choosing(files) for name, files in repository.apps.items() if choosing(files)}
    taken: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    if wanted and outputs.exists():
        with outputs.open("rb") as stream:
            for row in map(orjson.loads, stream):
                if row["variant"] == "candidate":
                    for step, result in row["steps"].items():
                        taken[row["app"], step, result.get("branch", "")].add(row["case"])
    return {
        app: {step.id: {branch.name: len(taken[app, step.id, branch.name]) for branch in step.branches} for step in own}
        for app, own in wanted.items()
    }


def unmeasured(repository: Repository, counts: Counts) -> list[str]:
    """A warning for each branch that no case took."""
    return [
        _warning(app, step, branch)
        for app, by_step in counts.items()
        for step in choosing(repository.apps[app])
        for branch in step.branches
        if not by_step.get(step.id, {}).get(branch.name)
    ]


def unreachable(repository: Repository) -> list[str]:
    """A warning for each branch that no case of the suite can take, as far as inputs and context decide it."""
    warnings = []
    for app, suite in repository.suites.items():
        files = repository.apps[app]
        for step in choosing(files):
            taken = {name for scope in _scopes(files, suite) for name in _possible(step, scope)}
            warnings += [_warning(app, step, branch) for branch in step.branches if branch.name not in taken]
    return warnings


def _warning(app: str, step: LlmStep, branch: Branch) -> str:
    asks = "meets none of the rules" if branch.name == OTHERWISE else f"meets: {branch.when}"
    return (
        f"{app}: no case reaches branch {branch.name!r} of step {step.id!r}, so {branch.prompt} is not measured there; "
        f"add a case that {asks}"
    )


class _UnknownError(Exception):
    """A condition asked for something that only a model, or a package that is not fetched, can tell."""


class _Unknown:
    """Stands for values that are not known: whatever is asked of it, nobody can say."""

    def __getitem__(self, name: str) -> Any:
        raise _UnknownError(name)

    def __contains__(self, name: object) -> bool:
        raise _UnknownError(name)


class _Partly(Facts):
    """Inputs of which some are not known."""

    __slots__ = ("_hidden",)

    def __init__(self, values: Mapping[str, Any], hidden: frozenset[str]) -> None:
        super().__init__(values)
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        if name in self._hidden:
            raise _UnknownError(name)
        return super().__getitem__(name)


def _scopes(files: AppFiles, suite: SuiteFiles) -> Iterator[Mapping[str, Any]]:
    """What conditions see of each case before any model is asked."""
    for file in suite.case_files:
        if file.external is not None:
            yield from _external(files, file)
            continue
        for case in file.cases:
            messages = [turn.model_dump() for turn in case.messages]
            try:
                inputs = bind_inputs(files, Call(case.inputs, messages, case.id))
            except StepError:
                continue
            yield _scope(Facts(inputs), context_of(files.app.inputs, inputs))


def _external(files: AppFiles, file: CaseFile) -> Iterator[Mapping[str, Any]]:
    """Rows of a package: their own inputs and the constants are known, the package's texts are not."""
    assert file.external is not None
    defaults = {name: spec.default for name, spec in files.app.inputs.items()}
    for row in file.external.rows:
        own = row.inputs if isinstance(row, ExternalRow) else {}
        hidden = frozenset(file.external.inputs) - frozenset(own)
        known = {**defaults, **file.external.constants, **own}
        derived = {name for name, spec in files.app.inputs.items() if spec.source != "inputs"}
        context = _Unknown() if derived & hidden else context_of(files.app.inputs, known)
        yield _scope(_Partly(known, hidden), context)


def _scope(inputs: Facts, context: Context | _Unknown) -> Mapping[str, Any]:
    return {"inputs": inputs, "steps": _Unknown(), "context": context}


def _possible(step: LlmStep, scope: Mapping[str, Any]) -> Iterator[str]:
    """The branches that a case may take; one at most when everything that its conditions read is known."""
    try:
        if step.when and _truth(step.when, scope) is False:
            return
        for branch in step.branches:
            found = True if not branch.when else _truth(branch.when, scope)
            if found is not False:
                yield branch.name
            if found is True:
                return
    except ConditionError:
        # The case will be an error of this step: it goes no further.
        return


def _truth(text: str, scope: Mapping[str, Any]) -> bool | None:
    try:
        return holds(text, scope)
    except _UnknownError:
        return None
