"""Invariances drawn by Hypothesis, measured as rates: the answer must not change when the input is only rewritten."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.evals.runner import Arm
from harness.serve.steps.chain import Call, ChainResult
from harness.serve.steps.function_step import load_function
from harness.spec.cases import dig
from harness.spec.measurement import Measurement
from harness.spec.suites import Case, PropertySpec
from harness.store import digest_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Rewriting = Callable[[str], "SearchStrategy[str]"]
_NUMBER = re.compile(r"\b(?:ORD[- ]?)?#?(\d{4,})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A case beside the text that stands in for its own."""

    case: Case
    text: str


def whitespace(text: str) -> SearchStrategy[str]:
    """The text with blanks doubled, and blanks or line ends around it."""
    from hypothesis import strategies as st

    gaps = st.sampled_from([" ", "  ", "\t", " \n"])
    edges = st.sampled_from(["", " ", "\n", "  "])
    words = text.split()
    joined = st.lists(gaps, min_size=max(len(words) - 1, 0), max_size=max(len(words) - 1, 0)).map(
        lambda between: "".join(word + gap for word, gap in zip(words, [*between, ""], strict=True))
    )
    return st.tuples(edges, joined, edges).map("".join)


def letter_case(text: str) -> SearchStrategy[str]:
    """The text in lower case, or with its first letter's case swapped."""
    from hypothesis import strategies as st

    return st.sampled_from([text.lower(), text[:1].swapcase() + text[1:], text[:1].upper() + text[1:].lower()])


def digit_style(text: str) -> SearchStrategy[str]:
    """The text with its long numbers (order numbers) written in another way people write them."""
    from hypothesis import strategies as st

    styles: list[Callable[[str], str]] = [
        lambda digits: f"#{digits}",
        lambda digits: f"ORD-{digits}",
        lambda digits: f"ord {digits}",
        lambda digits: f"ORD{digits}",
    ]
    return st.sampled_from(styles).map(lambda style: _NUMBER.sub(lambda found: style(found.group(1)), text))


BUILT_IN: dict[str, Rewriting] = {"whitespace": whitespace, "letter_case": letter_case, "digit_style": digit_style}


def rewriting(name: str, folder: Path) -> Rewriting:
    """A built-in rewriting, or ``file.py:function`` of the suite folder that takes the text and gives a strategy.

    Raises UsageError when it is neither, when the file does not import, and when it lacks the function.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    file, _, function = name.partition(":")
    if not function or not (folder / file).is_file():
        message = f"transform {name!r} is neither file.py:function nor one of {', '.join(BUILT_IN)}"
        raise UsageError(message)
    try:
        return load_function(folder, name)
    except UsageError as error:
        message = f"transform {name!r} cannot be loaded ({error})"
        raise UsageError(message) from error


def draw(strategy: SearchStrategy[str], count: int) -> list[str]:
    """``count`` examples at most, always the same ones, without shrinking and without a database."""
    from hypothesis import HealthCheck, Phase, given, settings

    drawn: list[str] = []

    @settings(
        derandomize=True,
        database=None,
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(text: str) -> None:
        drawn.append(text)

    collect()
    return drawn


def rewrite_cases(spec: PropertySpec, cases: Sequence[Case], folder: Path) -> list[Rewritten]:
    """The inputs that the property will ask, drawn before any of them is asked."""
    rule, rewritten = rewriting(spec.transform, folder), []
    chosen = 0
    for case in cases:
        text = _text(case, spec.input)
        if not text or (spec.slices and set(spec.slices).isdisjoint(case.slices)):
            continue
        fresh = [other for other in dict.fromkeys(draw(rule(text), spec.examples * 4)) if other != text]
        rewritten += [Rewritten(case, other) for other in fresh[: spec.examples]]
        chosen += bool(fresh)
        if chosen == spec.cases:
            break
    return rewritten


def _text(case: Case, name: str) -> str:
    value: Any = case.messages[-1].content if case.messages else case.inputs.get(name)
    return value if isinstance(value, str) else ""


async def measure_property(
    spec: PropertySpec, arm: Arm, rewritten: Sequence[Rewritten], concurrency: int, stage: str = "regression"
) -> list[Measurement]:
    """One row a case: the share of its rewritten inputs that left the step's output as it was."""
    gate = asyncio.Semaphore(concurrency)

    async def ask(item: Rewritten, text: str | None) -> ChainResult:
        messages = [turn.model_dump() for turn in item.case.messages]
        inputs = dict(item.case.inputs)
        if text is not None and messages:
            messages[-1]["content"] = text
        elif text is not None:
            inputs[spec.input] = text
        async with gate:
            return await arm.chain.run(Call(inputs, messages, item.case.id, 0))

    originals = await asyncio.gather(*(ask(item, None) for item in rewritten))
    changed = await asyncio.gather(*(ask(item, item.text) for item in rewritten))
    outcomes: dict[str, list[tuple[ChainResult, ChainResult]]] = {}
    for item, before, after in zip(rewritten, originals, changed, strict=True):
        outcomes.setdefault(item.case.id, []).append((before, after))
    by_id = {item.case.id: item.case for item in rewritten}
    return [_row(spec, arm, by_id[name], pairs, stage) for name, pairs in outcomes.items()]


def _row(
    spec: PropertySpec, arm: Arm, case: Case, pairs: Sequence[tuple[ChainResult, ChainResult]], stage: str
) -> Measurement:
    failed = next((result.reason for pair in pairs for result in pair if result.status != "ok"), "")
    same, absent = _compared(spec, pairs) if not failed else ([], "")
    return Measurement(
        stage=stage,
        app=arm.files.name,
        variant=arm.variant,
        case=case.id,
        check=spec.id,
        metric=spec.id,
        value=sum(same) / len(same) if same else None,
        status="scored" if same else "unscored" if absent else "error",
        step=spec.step,
        slices=case.slices,
        group=case.cluster,
        reason=failed or absent,
        cached=all(result.cached for pair in pairs for result in pair),
        app_digest=arm.files.digest,
        check_digest=digest_of(spec.model_dump(mode="json")),
    )


def _compared(spec: PropertySpec, pairs: Sequence[tuple[ChainResult, ChainResult]]) -> tuple[list[bool], str]:
    """Which pairs agree, or why that cannot be said: an older version of the app may answer in another shape."""
    try:
        return [_output(before, spec) == _output(after, spec) for before, after in pairs], ""
    except UsageError:
        return [], f"the output of {f'step {spec.step}' if spec.step else 'the app'} has no field {spec.field!r}"


def _output(result: ChainResult, spec: PropertySpec) -> Any:
    value = result.steps[spec.step].output if spec.step else result.value
    return dig(value, spec.field) if spec.field else value
