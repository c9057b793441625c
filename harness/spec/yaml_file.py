"""YAML as a closed world: no duplicate keys, no anchors, every value knows its line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from harness.errors import Problem

Path_ = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data with the 1-based line of every value and key."""

    path: str
    data: Any
    lines: Mapping[Path_, int]

    def line_of(self, loc: Path_) -> int:
        """The line of ``loc``; parts that the file does not have (union tags) are skipped."""
        found: Path_ = ()
        for part in loc:
            if (*found, part) in self.lines:
                found = (*found, part)
        return self.lines.get(found, 1)


def parse_yaml(text: str, path: str, first_line: int = 1) -> tuple[Document | None, list[Problem]]:
    """Parse ``text``; ``first_line`` is where it starts in its file (front matter starts below a delimiter)."""
    problems: list[Problem] = []
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                mark = event.start_mark
                line = (mark.line if mark else 0) + first_line
                problems.append(Problem(path, line, "anchors and aliases are not allowed; write the value out"))
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = (mark.line if mark else 0) + first_line
        return None, [*problems, Problem(path, line, f"not valid YAML: {error.problem or error.context}")]
    except yaml.YAMLError as error:
        return None, [*problems, Problem(path, None, f"not valid YAML: {error}")]
    if problems:
        return None, problems
    lines: dict[Path_, int] = {(): first_line}
    builder = _Builder(path, first_line, lines, problems)
    data = None if node is None else builder.build(node, ())
    return Document(path, data, lines), problems


@dataclass(frozen=True, slots=True)
class _Builder:
    path: str
    first_line: int
    lines: dict[Path_, int]
    problems: list[Problem]

    def build(self, node: yaml.Node, loc: Path_) -> Any:
        self.lines.setdefault(loc, node.start_mark.line + self.first_line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*loc, index)) for index, child in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, loc: Path_) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + self.first_line
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self.problems.append(Problem(self.path, line, f"a key must be a string, not {key!r}; put it in quotes"))
                continue
            if key in built:
                self.problems.append(Problem(self.path, line, f"duplicate key {key!r}; keep one of them"))
            self.lines[(*loc, key)] = line
            built[key] = self.build(value_node, (*loc, key))
        return built


def _scalar(node: yaml.Node) -> Any:
    # YAML 1.1 reads `no` as false and 2026-01-01 as a date; a file means what it shows, so both stay text.
    tag, value = node.tag.rsplit(":", 1)[-1], str(node.value)
    if tag == "bool" and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if tag == "null":
        return None
    if isinstance(node, yaml.ScalarNode) and tag in {"int", "float"}:
        loader = yaml.SafeLoader("")
        return loader.construct_yaml_int(node) if tag == "int" else loader.construct_yaml_float(node)
    return value


def validate(document: Document, model: type[ModelT]) -> tuple[ModelT | None, list[Problem]]:
    """The document as ``model``, or every problem with its line."""
    if not isinstance(document.data, dict):
        return None, [Problem(document.path, 1, f"expected a mapping, found {type(document.data).__name__}")]
    try:
        return model.model_validate(document.data), []
    except ValidationError as error:
        return None, [
            Problem(document.path, document.line_of(tuple(item["loc"])), explain(dict(item))) for item in error.errors()
        ]


def refusal(title: str, problems: Iterable[tuple[Path_, str]]) -> ValidationError:
    """What a validator of a whole object raises, so that each of several problems keeps its place in the file."""
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(type=PydanticCustomError("value_error", "{error}", {"error": text}), loc=loc, input=None)
            for loc, text in problems
        ],
    )


def line_in(path: Path, loc: Path_) -> int:
    """The line of ``loc`` in a file that was read before: for problems that only show beside other files."""
    document, _ = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    return document.line_of(loc) if document else 1


def explain(item: Mapping[str, Any]) -> str:
    """A pydantic error as one sentence: the thing, its value, what would be right."""
    loc = ".".join(str(part) for part in item["loc"])
    kind, found = item["type"], repr(item.get("input"))
    if kind == "extra_forbidden":
        return f"unknown key {loc!r}; remove it or correct its spelling"
    if kind == "missing":
        return f"missing field {loc!r}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    found = found if len(found) <= 80 else found[:77] + "..."
    return f"{loc}: {item['msg']}, found {found}"


def read_text(path: Path, shown: str) -> tuple[str | None, list[Problem]]:
    """The file's text with LF line ends, or a problem that says why it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n"), []
    except FileNotFoundError:
        return None, [Problem(shown, None, "no such file")]
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem(shown, None, f"cannot be read as UTF-8 text: {error}")]


def load(path: Path, shown: str, model: type[ModelT]) -> tuple[ModelT | None, list[Problem]]:
    """Read, parse and validate one YAML file."""
    text, problems = read_text(path, shown)
    if text is None:
        return None, problems
    document, problems = parse_yaml(text, shown)
    if document is None or problems:
        return None, problems
    return validate(document, model)
