"""Apps: steps and how they depend on each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from harness.spec import conditions
from harness.spec.base import Slug, Spec
from harness.spec.guards import Guard
from harness.spec.prompt_rules import Branch, PromptChoice, StepPrompt
from harness.spec.yaml_file import Path_, refusal

StepId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Task = Literal["classification", "extraction", "summarisation", "rewriting", "generation"]
Reference = Annotated[str, Field(pattern=r"^(inputs|steps)(\.[A-Za-z_][A-Za-z0-9_]*|\.\d+)+$")]
_STEP_NAME = re.compile(r"\bsteps\.([a-z][a-z0-9_]*)")


class AppInput(Spec):
    """One input of the app.

    ``source: user_message`` is filled by the last user message of the chat, ``source: history`` by what came before.
    """

    kind: Literal["string", "integer", "float", "boolean", "array", "object"] = "string"
    source: Literal["inputs", "user_message", "history"] = Field(default="inputs", alias="from")
    required: bool = True
    default: Any = None
    description: str = ""


class TextOutput(Spec):
    """Free text."""

    kind: Literal["text"] = "text"


class ChoiceOutput(Spec):
    """One of the options, ranked by log-probability.

    ``options`` maps what the step returns to what the model reads; a list means that both are equal.
    ``options_from`` takes a list of ids, or a mapping id to text, from another step.
    ``calibrate`` holds inputs that stand in for the case's own: each option's mean log-probability under them is
    subtracted, which takes out the model's liking for some labels. One neutral input is contextual calibration
    (Zhao et al. 2021, arXiv 2102.09690), a balanced list of typical ones batch calibration (Zhou et al. 2023,
    arXiv 2309.17249), whose batch is fixed here so that no answer depends on other cases.
    """

    kind: Literal["choice"]
    options: dict[str, str] | None = None
    options_from: Reference | None = None
    calibrate: tuple[dict[str, Any], ...] = ()

    @field_validator("calibrate", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("options", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            if len(set(value)) != len(value):
                message = f"options {value} hold a duplicate; each must be named once"
                raise ValueError(message)
            return {item: item for item in value}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.options is None) == (self.options_from is None):
            message = "a choice needs exactly one of 'options' and 'options_from'"
            raise ValueError(message)
        if self.options is not None and len(self.options) < 2:
            message = f"options {list(self.options)} leave nothing to choose; give at least two"
            raise ValueError(message)
        return self


class JsonOutput(Spec):
    """A JSON value that matches ``schema``; decoding is constrained where the engine can."""

    kind: Literal["json"]
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


Output = Annotated[TextOutput | ChoiceOutput | JsonOutput, Field(discriminator="kind")]


class Decoding(Spec):
    """What a step sets over its prompt's ``model.options``."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1, le=8192)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    stop: tuple[str, ...] = Field(default=(), max_length=8)


class _Step(Spec):
    id: StepId
    needs: tuple[StepId, ...] = ()
    when: str | None = None
    inputs: dict[str, Reference] = Field(default_factory=dict)
    retries: int = Field(default=0, ge=0, le=5)
    deadline_s: float = Field(default=120.0, gt=0)
    guards: tuple[Guard, ...] = ()
    description: str = ""

    @property
    def wired(self) -> frozenset[str]:
        """Ids of the steps that this one waits for or takes values from."""
        return frozenset(self.needs).union(*(_STEP_NAME.findall(text) for text in self.inputs.values()))

    @property
    def conditions(self) -> tuple[tuple[Path_, str], ...]:
        """Every condition of the step with its place inside it."""
        return ((("when",), self.when),) if self.when else ()

    @property
    def references(self) -> frozenset[str]:
        """Ids of the steps that this one reads, those in its conditions included."""
        return self.wired.union(*(conditions.steps_in(text) for _, text in self.conditions))

    def identity(self) -> dict[str, Any]:
        """The lines of the step that belong to the app's digest: all but words for people."""
        own = self.model_dump(mode="json", exclude={"description", "task"}, by_alias=True)
        # A step without guards is what it was before there were any: its evidence stays good.
        return own if self.guards else {name: value for name, value in own.items() if name != "guards"}


class LlmStep(_Step):
    """A prompt sent to a model; ``task`` says for people what it does, so that fitting checks can be proposed."""

    kind: Literal["llm"]
    prompt: StepPrompt
    model: Slug
    adapter: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*/\d+\.\d+\.\d+$")] | None = None
    output: Output = TextOutput()
    decoding: Decoding = Decoding()
    task: Task | None = None

    @model_validator(mode="after")
    def _guards_on_text(self) -> Self:
        if self.guards and isinstance(self.output, ChoiceOutput):
            message = f"step {self.id!r}: a choice can only be one of its options; put guards on the step that writes"
            raise ValueError(message)
        return self

    @property
    def wired(self) -> frozenset[str]:
        """Ids of the steps that this one waits for or takes values from, the source of its options included."""
        base = super().wired
        if isinstance(self.output, ChoiceOutput) and self.output.options_from:
            base = base.union(_STEP_NAME.findall(self.output.options_from))
        return base

    @property
    def conditions(self) -> tuple[tuple[Path_, str], ...]:
        """Every condition of the step with its place inside it, those of its prompt's rules included."""
        rules = self.prompt.choose if isinstance(self.prompt, PromptChoice) else ()
        return (
            *super().conditions,
            *((("prompt", "choose", place, "when"), rule.when) for place, rule in enumerate(rules)),
        )

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The ways through a step that chooses its prompt; none for a step with one prompt."""
        return self.prompt.branches if isinstance(self.prompt, PromptChoice) else ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt version that may answer, each once."""
        if isinstance(self.prompt, PromptChoice):
            return tuple(dict.fromkeys(branch.prompt for branch in self.prompt.branches))
        return (self.prompt,)

    def identity(self) -> dict[str, Any]:
        """The lines of the step that belong to the app's digest; what its rules are called does not."""
        own = super().identity()
        return own | {"prompt": self.prompt.identity()} if isinstance(self.prompt, PromptChoice) else own


class FunctionStep(_Step):
    """A Python function of the suite folder; ``files`` are the data it reads, part of its identity."""

    kind: Literal["function"]
    function: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.-]+\.py:[A-Za-z_][A-Za-z0-9_]*$")]
    files: tuple[str, ...] = ()


class HttpStep(_Step):
    """An existing service.

    ``body`` is the request template: strings in it are Jinja2 over ``inputs``, ``steps`` and the bound names.
    ``result`` is a JSONPath into the answer, which is reused for ``cache_s`` seconds (0: never). Without
    ``digest_header`` (a response header or the service's word
    for its build) the step is unpinned.
    """

    kind: Literal["http"]
    url: str
    baseline_url: str | None = None
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    token_env: str | None = None
    body: Any = None
    result: str = "$"
    timeout_s: float = Field(default=30.0, gt=0)
    cache_s: float = Field(default=600.0, ge=0)
    digest_header: str | None = None


Step = Annotated[LlmStep | FunctionStep | HttpStep, Field(discriminator="kind")]


class App(Spec):
    """``suites/<app>/app.yaml``. ``output`` is the reference that the caller gets; the default is the last step."""

    name: Slug
    description: str = ""
    seed: int = Field(default=0, ge=0)
    inputs: dict[str, AppInput]
    steps: tuple[Step, ...] = Field(min_length=1)
    output: Reference | None = None

    @model_validator(mode="after")
    def _graph(self) -> Self:
        ids = [step.id for step in self.steps]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            message = f"step id {twice[0]!r} stands twice; ids are unique"
            raise ValueError(message)
        wrong = [
            (("steps", place, *loc), f"step {step.id!r} {text}")
            for place, step in enumerate(self.steps)
            for loc, text in self._misread(step)
        ]
        if wrong:
            raise refusal("App", wrong)
        self.order()
        return self

    def _misread(self, step: LlmStep | FunctionStep | HttpStep) -> Iterator[tuple[Path_, str]]:
        """What a step reads that is not there, and rules that cannot work."""
        ids = [other.id for other in self.steps]
        for name in sorted(step.wired - set(ids)):
            yield (), f"refers to step {name!r}; known steps: {', '.join(ids)}"
        for name, target in step.inputs.items():
            parts = target.split(".")
            if parts[0] == "inputs" and parts[1] not in self.inputs:
                yield ("inputs", name), f"reads {target!r}; declared inputs: {', '.join(self.inputs)}"
        sources = {name: spec.source for name, spec in self.inputs.items()}
        for loc, text in step.conditions:
            yield from ((loc, f"when: {wrong}") for wrong in conditions.problems(text, sources, ids))
        if isinstance(step, LlmStep) and isinstance(step.prompt, PromptChoice):
            yield from ((("prompt", *loc), text) for loc, text in step.prompt.problems())

    def order(self) -> tuple[tuple[str, ...], ...]:
        """Steps in waves: each wave depends only on earlier ones. A cycle raises ValueError naming its steps."""
        waiting = {step.id: set(step.references) for step in self.steps}
        waves: list[tuple[str, ...]] = []
        while waiting:
            ready = tuple(name for name, needs in waiting.items() if not needs)
            if not ready:
                message = f"steps {', '.join(sorted(waiting))} depend on each other in a circle"
                raise ValueError(message)
            waves.append(ready)
            waiting = {name: needs - set(ready) for name, needs in waiting.items() if name not in ready}
        return tuple(waves)

    def step(self, name: str) -> LlmStep | FunctionStep | HttpStep:
        """The step called ``name``."""
        return next(step for step in self.steps if step.id == name)

    @property
    def result(self) -> str:
        """The reference to the app's answer."""
        return self.output or f"steps.{self.steps[-1].id}.output"
