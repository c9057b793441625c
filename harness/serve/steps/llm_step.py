"""Model steps: render the prompt, call the model, turn the text into the step's value."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from harness.serve.protocol import (
    ChoiceOutput,
    Decoding,
    Generation,
    GenerationRequest,
    JsonOutput,
    Message,
    TextOutput,
)
from harness.serve.steps.callers import Answer, Caller, MalformedError, StepError
from harness.spec import apps
from harness.spec.apps import LlmStep
from harness.spec.prompts import Prompt
from harness.spec.repository import AppFiles
from harness.store import seed_for

_DEFAULT = Decoding()


@dataclass(frozen=True, slots=True)
class LlmAnswer:
    """The step's value beside the generation that it was read from."""

    value: Any
    generation: Generation
    cached: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked what: a step with the prompt version that was chosen for it; case and repeat decide the seed."""

    step: LlmStep
    prompt: Prompt
    case: str = ""
    repeat: int = 0


def decoding_of(step: LlmStep, prompt: Prompt, seed: int) -> Decoding:
    """The prompt's options with the step's decoding over them; greedy and 256 tokens where neither says."""
    options, own = prompt.front.model.options, step.decoding

    def pick(mine: Any, prompts: Any, default: Any) -> Any:
        return mine if mine is not None else prompts if prompts is not None else default

    return Decoding(
        max_tokens=pick(own.max_tokens, options.maxOutputTokens, _DEFAULT.max_tokens),
        temperature=pick(own.temperature, options.temperature, _DEFAULT.temperature),
        top_p=pick(own.top_p, options.topP, _DEFAULT.top_p),
        top_k=pick(own.top_k, options.topK, _DEFAULT.top_k),
        seed=pick(None, options.seed, seed),
        stop=own.stop or options.stopSequences,
    )


def samples(files: AppFiles) -> bool:
    """Whether any model step of the app draws its tokens: then repeats differ, and answers depend on the seed."""
    steps = [step for step in files.app.steps if isinstance(step, LlmStep)]
    return any(decoding_of(step, files.prompts[key], 0).temperature > 0 for step in steps for key in step.prompts)


class LlmRunner:
    """Runs the model steps of one app."""

    def __init__(self, files: AppFiles, caller: Caller) -> None:
        self._files = files
        self._caller = caller
        self._priors: dict[tuple[str, str, tuple[str, ...], str], dict[str, float]] = {}

    async def run(self, question: Question, bound: Mapping[str, Any], options: Any) -> LlmAnswer:
        """The step's value; StepError for a refused input, an empty choice, JSON that was cut off."""
        step = question.step
        if isinstance(step.output, apps.ChoiceOutput):
            return await self._choose(question, bound, _options(step.output, options))
        wanted = JsonOutput(step.output.schema_) if isinstance(step.output, apps.JsonOutput) else TextOutput()
        answer = await self._ask(question, bound, wanted)
        text = answer.generation.text
        if isinstance(wanted, TextOutput):
            return LlmAnswer(text, answer.generation, answer.cached)
        try:
            return LlmAnswer(orjson.loads(text), answer.generation, answer.cached)
        except ValueError as error:
            why = "cut off by max_tokens" if answer.generation.finish_reason == "length" else str(error)
            message = f"not valid JSON ({why}): {text[:200]!r}"
            raise MalformedError(message) from error

    async def _choose(self, question: Question, bound: Mapping[str, Any], options: Mapping[str, str]) -> LlmAnswer:
        ids, output = {text: name for name, text in options.items()}, question.step.output
        declared = question.prompt.front.inputs
        values = {**bound, "options": list(options.values())} if "options" in declared else dict(bound)
        if len(options) == 1:
            only = Generation(text=next(iter(ids)), finish_reason="stop", prompt_tokens=0, completion_tokens=0)
            return LlmAnswer(next(iter(options)), only, cached=True)
        wanted = ChoiceOutput(tuple(ids))
        answer = await self._ask(question, values, wanted)
        best, scores = _unquoted(answer.generation.text), answer.generation.scores
        neutral = output.calibrate if isinstance(output, apps.ChoiceOutput) else ()
        if neutral and scores is not None:
            prior = await self._prior(question, values, wanted, neutral)
            best = max(scores, key=lambda text: scores[text] - prior[text])
        if best not in ids:
            message = f"the model chose {best[:100]!r}, which is none of the {len(ids)} options"
            raise MalformedError(message)
        return LlmAnswer(ids[best], answer.generation, answer.cached)

    async def _prior(
        self, question: Question, values: Mapping[str, Any], wanted: ChoiceOutput, neutral: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, float]:
        """Each option's mean log-probability under the neutral inputs, asked once for all cases that share the rest."""
        blank = replace(question, case="", repeat=0)
        rest = {name: value for name, value in values.items() if not all(name in stand_in for stand_in in neutral)}
        key = (question.step.id, question.prompt.key, wanted.options, repr(sorted(rest.items())))
        if key not in self._priors:
            answers = await asyncio.gather(*(self._ask(blank, {**values, **stand_in}, wanted) for stand_in in neutral))
            found = [answer.generation.scores or {} for answer in answers]
            self._priors[key] = {
                option: sum(scores.get(option, 0.0) for scores in found) / len(found) for option in wanted.options
            }
        return self._priors[key]

    async def _ask(
        self, question: Question, values: Mapping[str, Any], wanted: ChoiceOutput | JsonOutput | TextOutput
    ) -> Answer:
        step, prompt = question.step, question.prompt
        if step.branches:
            # Versions that a step chooses from may read different inputs; each gets its own.
            values = {name: value for name, value in values.items() if name in prompt.front.inputs}
        messages = tuple(Message(m["role"], m["content"]) for m in prompt.render(values))
        _refuse_half_characters(messages)
        seed = seed_for(self._files.app.seed, question.case, step.id, question.repeat)
        request = GenerationRequest(messages, decoding_of(step, prompt, seed), wanted, _adapter(self._files, step))
        return await self._caller.ask(self._files.models[step.model], request, question.repeat)


def _adapter(files: AppFiles, step: LlmStep) -> str | None:
    """The digest of the step's adapter; for an endpoint, which states none, the name that it goes by."""
    if step.adapter is None:
        return None
    known = files.adapters.get(step.adapter)
    return known.digest if known else step.adapter


def _refuse_half_characters(messages: Sequence[Message]) -> None:
    for message in messages:
        try:
            message.content.encode()
        except UnicodeEncodeError as error:
            why = f"the {message.role} message holds half a character (a lone surrogate) at {error.start}"
            raise StepError(why) from error


def _options(output: apps.ChoiceOutput, given: Any) -> Mapping[str, str]:
    if output.options is not None:
        return output.options
    if isinstance(given, Mapping) and given and all(isinstance(value, str) for value in given.values()):
        return given
    if isinstance(given, list) and given and all(isinstance(value, str) for value in given):
        return {value: value for value in given}
    message = (
        f"options_from {output.options_from}: expected a list of texts or a mapping id to text, found {given!r:.100}"
    )
    raise StepError(message)


def _unquoted(text: str) -> str:
    # Servers without option ranking answer under an enum schema: the choice comes as a JSON string.
    if text.startswith('"'):
        try:
            return str(orjson.loads(text))
        except ValueError:
            return text
    return text
