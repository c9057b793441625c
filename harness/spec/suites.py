"""Suites: the checks of one app, its slices, its properties and how often a case is repeated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from harness.spec.base import Sha256, Slug, Spec

OwnFunction = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.py:[A-Za-z_][A-Za-z0-9_]*$")]
"""A function of the suite's folder: ``file.py:name``."""


class CheckSpec(Spec):
    """One check of the suite.

    ``step`` is whose output is looked at (empty: the app's answer); ``expect`` is the key of the case's
    expectation; the check runs on the cases that have that key and any of ``slices`` (none: all cases).
    """

    id: Slug
    check: str
    step: str = ""
    expect: str | None = None
    slices: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict, alias="with")
    description: str = ""

    @property
    def graded(self) -> bool:
        """Whether a model grades: ``judge/<name>`` and ``deepeval/<metric>``, measured by the stage ``evals``."""
        return self.check.startswith(("judge/", "deepeval/"))


class PropertySpec(Spec):
    """An invariance: the step's output, or its ``field``, must not change when its input is rewritten by ``transform``.

    ``input`` is the app's input that is rewritten; ``examples`` rewritten inputs are drawn for each of the
    first ``cases`` cases of ``slices``; the metric is the share of cases whose output stayed the same.
    """

    id: Slug
    transform: Literal["whitespace", "letter_case", "digit_style"] | str
    step: str = ""
    field: str = ""
    input: str = "message"
    slices: tuple[str, ...] = ()
    cases: int = Field(default=30, ge=1)
    examples: int = Field(default=1, ge=1, le=20)


class Suite(Spec):
    """``suites/<app>/suite.yaml``."""

    description: str = ""
    seed: int = Field(default=0, ge=0)
    repeats: int = Field(default=1, ge=1, le=50)
    max_looks: int = Field(default=1, ge=1, le=3)
    concurrency: int = Field(default=32, ge=1, le=512)
    deadline_s: float = Field(default=300.0, gt=0)
    slices: dict[str, str] = Field(default_factory=dict)
    checks: tuple[CheckSpec, ...]
    properties: tuple[PropertySpec, ...] = ()

    @field_validator("checks", "properties")
    @classmethod
    def _unique(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        ids = [item.id for item in items]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            message = f"id {twice[0]!r} stands twice; ids are unique"
            raise ValueError(message)
        return items


class ChatTurn(Spec):
    """One message of a dialogue."""

    role: Literal["user", "assistant"]
    content: str


class Case(Spec):
    """One row of ``cases/*.jsonl``. A dialogue has ``messages``, the last of them the user's."""

    id: Slug
    inputs: dict[str, Any] = Field(default_factory=dict)
    messages: tuple[ChatTurn, ...] = ()
    expect: dict[str, Any] = Field(default_factory=dict)
    slices: tuple[str, ...] = ()
    group: str = ""
    note: str = ""

    @field_validator("messages")
    @classmethod
    def _ends_with_user(cls, messages: tuple[ChatTurn, ...]) -> tuple[ChatTurn, ...]:
        if messages and messages[-1].role != "user":
            message = "the last message of a dialogue must be the user's; the app answers it"
            raise ValueError(message)
        return messages

    @property
    def cluster(self) -> str:
        """The cluster of the case: its group, or itself."""
        return self.group or self.id


class ExternalRow(Spec):
    """One row taken from an external source, with what people of this repository say of it."""

    id: str
    expect: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    slices: tuple[str, ...] = ()


class ExternalCases(Spec):
    """``cases/*.yaml``: cases whose text lives in a pinned package and is never committed.

    ``id``, ``inputs`` and ``expect`` name dotted fields of the source's rows; ``truncate`` cuts an input to
    so many characters at a word's end; ``rewrite`` then passes it through ``file.py:function`` of the suite's folder,
    which takes the text and the case's id and gives a text; ``rows`` are the ids taken.
    """

    source: str
    sha256: Sha256
    format: Literal["jsonl", "json"]
    licence: str
    id: str
    prefix: str
    inputs: dict[str, str]
    expect: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, Any] = Field(default_factory=dict)
    truncate: dict[str, int] = Field(default_factory=dict)
    rewrite: dict[str, OwnFunction] = Field(default_factory=dict)
    slices: tuple[str, ...] = ()
    rows: tuple[ExternalRow | str, ...]

    @model_validator(mode="after")
    def _known_inputs(self) -> Self:
        for key, named in (("truncate", self.truncate), ("rewrite", self.rewrite)):
            if absent := sorted(set(named) - set(self.inputs)):
                message = f"{key} names {absent[0]!r}; the inputs taken from the source are {', '.join(self.inputs)}"
                raise ValueError(message)
        return self
