"""Prompts: Prompty-shaped files under strict rules, rendered in a sandbox."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import jinja2
import jinja2.meta
import jinja2.sandbox
from pydantic import Field, ValidationInfo, field_validator

from harness.errors import Problem, SignoffError
from harness.spec.base import Semver, Slug, Spec
from harness.spec.yaml_file import parse_yaml, read_text, validate
from harness.store import digest_of

Kind = Literal["string", "integer", "float", "boolean", "array", "object"]
Role = Literal["system", "user", "assistant"]
_ROLE_LINE = re.compile(r"^[ \t]*(system|user|assistant)[ \t]*:[ \t]*$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\{(env|file):[^}]*\}")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
}


class PromptInputError(SignoffError):
    """A value that a prompt refuses: of another kind, missing, unknown, or holding a role marker."""


class Message(TypedDict):
    """One chat message."""

    role: Role
    content: str


class Options(Spec):
    """``model.options``, in Prompty's spelling."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    maxOutputTokens: int | None = Field(default=None, ge=1, le=8192)
    topP: float | None = Field(default=None, gt=0, le=1)
    topK: int | None = Field(default=None, ge=0)
    seed: int | None = Field(default=None, ge=0)
    stopSequences: tuple[str, ...] = Field(default=(), max_length=8)


class PromptModel(Spec):
    """``model``: only decoding options; which model runs the prompt stands in ``app.yaml``."""

    options: Options = Options()


class PromptInput(Spec):
    """One declared variable."""

    kind: Kind = "string"
    description: str = ""
    required: bool = True
    default: Any = None
    example: Any = None
    enumValues: tuple[str, ...] = ()

    def problem(self, name: str, value: Any) -> str | None:
        """What is wrong with ``value``, or None."""
        right = isinstance(value, _TYPES[self.kind]) and (self.kind == "boolean" or not isinstance(value, bool))
        if not right:
            return f"input {name!r} is {value!r:.80} ({type(value).__name__}); it is declared as {self.kind}"
        if self.enumValues and value not in self.enumValues:
            return f"input {name!r} is {value!r:.80}; allowed: {', '.join(self.enumValues)}"
        return None


class Metadata(Spec):
    """``metadata``: the version, and free text for people."""

    version: Semver
    authors: tuple[str, ...] = ()
    changes: str = ""
    tags: tuple[str, ...] = ()


class FrontMatter(Spec):
    """Everything above the body of a ``.prompty`` file."""

    name: Slug
    displayName: str = ""
    description: str = ""
    metadata: Metadata
    model: PromptModel = PromptModel()
    inputs: dict[str, PromptInput] = Field(default_factory=dict)
    template: Literal["jinja2"] = "jinja2"

    @field_validator("inputs")
    @classmethod
    def _names(cls, inputs: dict[str, PromptInput], _: ValidationInfo) -> dict[str, PromptInput]:
        for name, declared in inputs.items():
            if not name.isidentifier():
                message = f"input {name!r} is not a name that a template can use; use letters, digits and _"
                raise ValueError(message)
            for label, value in (("default", declared.default), ("example", declared.example)):
                wrong = None if value is None else declared.problem(name, value)
                if wrong:
                    message = f"{label} of {wrong}"
                    raise ValueError(message)
        return inputs


def environment() -> jinja2.sandbox.SandboxedEnvironment:
    """The sandbox in which every template of the project is rendered; an undefined name is an error."""
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False
    )


@dataclass(frozen=True)
class Prompt:
    """One version of one prompt.

    ``key`` is ``<app>/<step>/<version>``; ``path`` is relative to the repository.
    """

    key: str
    path: str
    front: FrontMatter
    body: str

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical front matter and the LF-normalised body."""
        return digest_of({"front": self.front.model_dump(mode="json"), "body": self.body})

    @cached_property
    def _compiled(self) -> tuple[str, jinja2.Template]:
        # The nonce tells the template's own role lines from any that a value might smuggle in.
        nonce = secrets.token_hex(8)
        marked = _ROLE_LINE.sub(lambda found: f"\x02{nonce}:{found.group(1)}\x03", self.body)
        return nonce, environment().from_string(marked)

    def render(self, values: Mapping[str, Any]) -> list[Message]:
        """The chat messages for ``values``.

        Raises PromptInputError for a missing, unknown or wrong-typed value and for a role marker in a value.
        """
        bound = self._bind(values)
        nonce, template = self._compiled
        try:
            text = template.render(bound)
        except jinja2.TemplateError as error:
            message = f"prompt {self.key}: {error}"
            raise PromptInputError(message) from error
        return _split(text, nonce)

    def _bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        declared, wrong = self.front.inputs, []
        wrong += [f"unknown input {name!r}" for name in values if name not in declared]
        bound: dict[str, Any] = {}
        for name, spec in declared.items():
            value = values.get(name, spec.default)
            if value is None:
                wrong += [f"missing input {name!r}"] if spec.required else []
                bound[name] = "" if spec.kind == "string" else None
                continue
            problem = spec.problem(name, value) or _marker(name, value)
            wrong += [problem] if problem else []
            bound[name] = value
        if wrong:
            message = f"prompt {self.key}: {'; '.join(wrong)}"
            raise PromptInputError(message)
        return bound


def _marker(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        found = _ROLE_LINE.search(value) if ":" in value else None
        if found:
            return f"input {name!r} holds the role marker {found.group(0).strip()!r} on a line of its own"
        return None
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((wrong for part in parts if (wrong := _marker(name, part))), None)


def _split(text: str, nonce: str) -> list[Message]:
    pieces = re.split(f"\x02{nonce}:(system|user|assistant)\x03", text)
    roles: list[Any] = ["system", *pieces[1::2]]
    contents = [piece.strip("\n").rstrip() for piece in pieces[::2]]
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=True) if content]


def load_prompt(file: Path, root: Path) -> tuple[Prompt | None, list[Problem]]:
    """Read one ``prompts/<app>/<step>/<version>.prompty``; all its problems come back together."""
    shown = file.relative_to(root).as_posix()
    text, problems = read_text(file, shown)
    if text is None:
        return None, problems
    split = split_front(text)
    if split is None:
        return None, [Problem(shown, 1, "front matter must stand between two lines '---', the first on line 1")]
    head, body, body_line = split
    document, problems = parse_yaml(head, shown, first_line=2)
    if document is None or problems:
        return None, problems
    front, problems = validate(document, FrontMatter)
    problems += [
        Problem(shown, number, f"{found.group(0)} is not allowed: a prompt file holds all that it says")
        for number, line in enumerate(text.splitlines(), start=1)
        for found in [_REFERENCE.search(line)]
        if found
    ]
    if front is None:
        return None, problems
    problems += _place(front, file, shown, document.line_of(("metadata", "version")))
    problems += _variables(front, body, shown, body_line)
    step = file.parent.name
    return Prompt(f"{file.parent.parent.name}/{step}/{file.stem}", shown, front, body), problems


def split_front(text: str) -> tuple[str, str, int] | None:
    """Front matter, body and the body's first line (from 1) of a prompt file; None without two lines ``---``."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return None
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]), number + 2
    return None


def _place(front: FrontMatter, file: Path, shown: str, line: int) -> list[Problem]:
    problems = []
    if front.metadata.version != file.stem:
        wrong = f"metadata.version is {front.metadata.version!r} but the file is named {file.name!r}; make them equal"
        problems.append(Problem(shown, line, wrong))
    if front.name != file.parent.name:
        wrong = f"name is {front.name!r} but the file lies in the folder {file.parent.name!r}; make them equal"
        problems.append(Problem(shown, 2, wrong))
    return problems


def _variables(front: FrontMatter, body: str, shown: str, body_line: int) -> list[Problem]:
    try:
        tree = environment().parse(body)
    except jinja2.TemplateSyntaxError as error:
        return [Problem(shown, body_line - 1 + error.lineno, f"template: {error.message}")]
    used = jinja2.meta.find_undeclared_variables(tree)
    problems = []
    for name in sorted(used - set(front.inputs)):
        lines = body.split("\n")
        offset = next((i for i, line in enumerate(lines) if re.search(rf"\b{re.escape(name)}\b", line)), 0)
        problems.append(Problem(shown, body_line + offset, f"variable {name!r} is used but not declared in inputs"))
    unused = sorted(set(front.inputs) - used)
    problems += [Problem(shown, 2, f"input {name!r} is declared but the body never uses it") for name in unused]
    if not _ROLE_LINE.search(body):
        problems.append(Problem(shown, body_line, "no role line: the body needs at least one line 'user:'"))
    return problems
