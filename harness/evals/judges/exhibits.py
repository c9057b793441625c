"""What is shown to a judging model: one output of an app with what it answers to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.evals.runner import shown_input
from harness.serve.steps.callers import StepError
from harness.serve.steps.chain import Call, ChainResult, bind_inputs, resolve, text_of
from harness.spec.graded import DeepevalSettings, GradedSettings
from harness.spec.measurement import Status
from harness.spec.repository import AppFiles
from harness.spec.suites import Case, CheckSpec
from harness.store import digest_bytes

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One output under a judge; ``passages`` is its retrieval context."""

    input: str
    output: str
    expected: str = ""
    context: str = ""
    passages: tuple[str, ...] = ()

    @property
    def output_digest(self) -> str:
        """sha256 of the output's text."""
        return digest_bytes(self.output.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why there is nothing to show to a judge."""

    status: Status
    reason: str


def exhibit(
    spec: CheckSpec, settings: GradedSettings, case: Case, files: AppFiles, result: ChainResult
) -> Exhibit | Withheld:
    """What the check's step (or the app) gave to ``case``; Withheld when it gave nothing that can be judged."""
    step = result.steps.get(spec.step) if spec.step else None
    if step is None and result.status != "ok":
        return Withheld("error", result.reason)
    if spec.step and step is None:
        # The baseline may be an app from before the step.
        return Withheld("unscored", f"this version of the app has no step {spec.step!r}")
    if step is not None and step.status == "error":
        return Withheld("error", f"step {spec.step!r}: {step.reason}")
    if step is not None and step.status == "skipped":
        return Withheld("unscored", f"step {spec.step!r} was skipped")
    retrieval = settings.retrieval_context if isinstance(settings, DeepevalSettings) else ""
    try:
        output = result.text if step is None else text_of(step.output)
        context = _referenced(settings.context, case, files, result)
        passages = _referenced(retrieval, case, files, result)
        expected = case.expect.get(spec.expect) if spec.expect else None
        shown = Exhibit(
            input=shown_input(case),
            output=output,
            expected="" if expected is None else text_of(expected),
            context="" if context is None else text_of(context),
            passages=_passages(passages),
        )
    except StepError as error:
        return Withheld("unscored", str(error))
    blank = not output.strip() or (step is not None and step.output is None)
    return Withheld("unscored", "the output is empty: there is nothing to judge") if blank else shown


def _referenced(reference: str, case: Case, files: AppFiles, result: ChainResult) -> Any:
    if not reference:
        return None
    messages = [turn.model_dump() for turn in case.messages]
    name = reference.split(".")[1]
    if reference.startswith("steps.") and name not in result.steps:
        message = f"reference {reference!r}: there is no step {name!r}"
        raise StepError(message)
    return resolve(reference, bind_inputs(files, Call(case.inputs, messages, case.id)), result.steps)


def _passages(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(text_of(item) for item in value) if isinstance(value, list | tuple) else (text_of(value),)


def sampled(cases: Sequence[Item], names: Sequence[str], salt: str, limit: int) -> list[Item]:
    """The ``limit`` cases whose names hash lowest, in their old order.

    A case stays in or out when others are added, but for those at the edge; ``salt`` gives each check cases of its own.
    """
    ranks = sorted(range(len(cases)), key=lambda i: hashlib.sha256(f"{salt}\0{names[i]}".encode()).digest())
    return [cases[i] for i in sorted(ranks[:limit])]
