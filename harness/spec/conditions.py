"""Conditions: sandboxed Jinja2 expressions over what a request brings and what the steps before have found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser

from harness.errors import SignoffError
from harness.spec.context import FACTS
from harness.spec.prompts import environment

ROOTS = ("inputs", "steps", "context")
OF_A_STEP = ("output", "status")
Path = tuple[str | None, ...]
"""A name and what is read of it, ``("steps", "triage", "output")``; None stands for a part that is computed."""


class ConditionError(SignoffError):
    """A condition that cannot be computed for this request."""


class Facts:
    """Named values as a condition sees them.

    A bare mapping would answer ``inputs.items`` with its own method instead of the input of that name.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def holds(text: str, scope: Mapping[str, Any]) -> bool:
    """Whether the condition ``text`` is true in ``scope`` (inputs, steps, context); ConditionError when it fails."""
    try:
        return bool(_compiled(text)(**scope))
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConditionError(str(error) or type(error).__name__) from error


@lru_cache(maxsize=1024)
def _compiled(text: str) -> TemplateExpression:
    return environment().compile_expression(text, undefined_to_none=False)


@lru_cache(maxsize=1024)
def parsed(text: str) -> nodes.Node | None:
    """The syntax tree of a condition, equal for conditions that differ in blanks only; None when it has none."""
    try:
        _compiled(text)
    except jinja2.TemplateError:
        return None
    return nodes.Output([Parser(environment(), text, state="variable").parse_expression()])


@lru_cache(maxsize=1024)
def paths(text: str) -> tuple[Path, ...]:
    """Everything that a condition reads, each once; nothing for one that is no expression."""
    tree = parsed(text)
    return () if tree is None else tuple(dict.fromkeys(_paths(tree)))


@lru_cache(maxsize=1024)
def steps_in(text: str) -> frozenset[str]:
    """The ids of the steps that a condition reads."""
    return frozenset(path[1] for path in paths(text) if path[0] == "steps" and len(path) > 1 and path[1])


def reads(text: str, *path: str) -> bool:
    """Whether the condition reads ``path`` or something inside it."""
    return any(found[: len(path)] == path for found in paths(text))


def _paths(node: nodes.Node) -> Iterator[Path]:
    if not isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        for child in node.iter_child_nodes():
            yield from _paths(child)
        return
    trail: list[str | None] = []
    inner: nodes.Node = node
    while isinstance(inner, nodes.Getattr | nodes.Getitem):
        if isinstance(inner, nodes.Getattr):
            trail.append(inner.attr)
        elif isinstance(inner.arg, nodes.Const):
            trail.append(str(inner.arg.value))
        else:
            trail.append(None)
            yield from _paths(inner.arg)
        inner = inner.node
    if isinstance(inner, nodes.Name):
        yield (inner.name, *reversed(trail))
    else:
        yield from _paths(inner)


def problems(text: str, inputs: Mapping[str, str], steps: Collection[str]) -> list[str]:
    """Everything wrong with a condition of an app with these ``inputs`` (name to source) and ``steps``."""
    try:
        _compiled(text)
    except jinja2.TemplateError as error:
        return [f"{text!r} is not an expression: {error.message}"]
    found = [wrong for path in paths(text) if (wrong := _problem(path, inputs, steps))]
    tree = parsed(text)
    if tree is not None and any(item.name == "random" for item in tree.find_all(nodes.Filter)):
        found.append("the filter 'random' would answer the same request in two ways; remove it")
    return found


def _problem(path: Path, inputs: Mapping[str, str], steps: Collection[str]) -> str | None:
    root, *rest = path
    if root == "inputs":
        if not rest or rest[0] in inputs:
            return None
        return f"no input {_shown(rest[0])}; declared inputs: {', '.join(inputs) or 'none'}"
    if root == "context":
        return _of_context(rest, inputs)
    if root == "steps":
        return _of_steps(rest, steps)
    hint = f"; write inputs.{root}" if root in inputs else ""
    return f"unknown name {root!r}; a condition knows {', '.join(ROOTS)}{hint}"


def _of_steps(rest: list[str | None], steps: Collection[str]) -> str | None:
    if not rest or rest[0] is None:
        return "the step must be named, as in steps.triage.output: it has to run first"
    if rest[0] not in steps:
        return f"refers to step {rest[0]!r}; known steps: {', '.join(steps)}"
    if len(rest) == 1:
        return f"steps.{rest[0]} is always true; write steps.{rest[0]}.output"
    if rest[1] not in OF_A_STEP:
        return f"steps.{rest[0]} has no {_shown(rest[1])} here; there are {' and '.join(OF_A_STEP)}"
    return None


def _of_context(rest: list[str | None], inputs: Mapping[str, str]) -> str | None:
    name = rest[0] if rest else ""
    if name is None or name not in FACTS:
        return f"context has no {_shown(name)}; it has {', '.join(FACTS)}"
    source = FACTS[name]
    return None if source in inputs.values() else f"context.{name} needs an input with 'from: {source}'; declare one"


def _shown(part: str | None) -> str:
    return "name that is computed" if part is None else repr(part)
