"""Reading a promptfoo config and the files that it names."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import Problem, UsageError

_LARGEST = 64 * 2**20
_CODE = frozenset({".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".py", ".rb"})
_MOST_FILES = 1000


# The loader in C reads "{question: Why?}" as JavaScript's does; the one in Python finds a mistake there.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML as JavaScript's reader takes it: ``yes`` and dates are texts, anchors are allowed."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag.rsplit(":", 1)[-1] not in {"bool", "timestamp"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class Unreadable(Exception):  # noqa: N818 - a finding about the user's file, which becomes an entry or a UsageError
    """A file that cannot be taken over; the message says why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of the config: every ``file://`` is looked up from here."""

    path: Path

    def shown(self, file: Path) -> str:
        """The file as a person names it."""
        return file.relative_to(self.path).as_posix() if file.is_relative_to(self.path) else str(file)

    def find(self, reference: str) -> list[Path]:
        """The files behind ``file://name``, a name or a pattern with ``*``; Unreadable when there is none."""
        name = reference.removeprefix("file://").split("#")[0]
        if "*" in name or "?" in name:
            found = sorted(path for path in self.path.glob(name.removeprefix("./")) if path.is_file())[:_MOST_FILES]
        else:
            path = Path(name) if Path(name).is_absolute() else self.path / name
            found = [path] if path.is_file() else []
        if not found:
            raise Unreadable(f"no file {name!r} beside the config")
        return found

    def load(self, reference: str) -> Any:
        """What ``file://name`` holds: data of YAML and JSON, the text of other files. Unreadable for code."""
        file = self.find(reference)[0]
        return load_data(file) if file.suffix in {".json", ".yaml", ".yml"} else load_text(file).strip()


def is_code(reference: str) -> bool:
    """Whether a reference names a program, with or without a function behind a colon."""
    name = reference.removeprefix("file://")
    stem = name.rsplit(":", 1)[0] if ":" in name else name
    return Path(name).suffix in _CODE or Path(stem).suffix in _CODE


def load_text(file: Path) -> str:
    """The text of a file; Unreadable when it is none, too large or not there."""
    if is_code(file.name):
        raise Unreadable(f"{file.name} is a program, which an import does not run")
    try:
        if file.stat().st_size > _LARGEST:
            raise Unreadable(f"{file.name} is larger than {_LARGEST // 2**20} MB")
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise Unreadable(f"no file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{file.name} cannot be read as UTF-8 text: {error}") from error
    if "\0" in text:
        raise Unreadable(f"{file.name} is not text: it holds zero bytes")
    return text.replace("\r\n", "\n")


def load_data(file: Path) -> Any:
    """The data of a YAML or JSON file."""
    text = load_text(file)
    try:
        return json.loads(text) if file.suffix == ".json" else yaml.load(text, Loader=_Loader)  # noqa: S506 - safe
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", None)
        what = getattr(error, "problem", None) or getattr(error, "msg", None) or type(error).__name__
        raise Unreadable(f"{file.name}{f':{line}' if line else ''} is not valid {file.suffix[1:]}: {what}") from error


def load_rows(file: Path) -> Sequence[dict[str, str]]:
    """The rows of a CSV file by its header; Unreadable for rows of another width and for a header that repeats."""
    reader = csv.reader(io.StringIO(load_text(file)), delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise Unreadable(f"{file.name}:{reader.line_num} is not valid CSV: {error}") from error
    if len(lines) < 2:
        raise Unreadable(f"{file.name} has no row below its header")
    header = [name.strip() for name in lines[0][1]]
    if len(set(header)) < len(header) or not all(header):
        raise Unreadable(f"{file.name}:1: a column has no name or the name of another: {', '.join(header)}")
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise Unreadable(f"{file.name}:{number} has {len(row)} columns, the header has {len(header)}")
    return [dict(zip(header, row, strict=True)) for _, row in lines[1:]]


def load_lines(file: Path) -> list[Any]:
    """The values of a JSON-lines file."""
    rows = []
    for number, line in enumerate(load_text(file).splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise Unreadable(f"{file.name}:{number} is not valid JSON: {error}") from error
    return rows


def load_config(file: Path) -> dict[str, Any]:
    """The config with its local ``$ref`` resolved; UsageError names the file and the line of what is wrong."""
    if is_code(file.name):
        raise UsageError(f"{file} is a program; write its config to YAML first: promptfoo export, or by hand")
    try:
        data = load_data(file)
    except Unreadable as error:
        raise UsageError(str(error), [Problem(str(file), None, str(error))]) from error
    if not isinstance(data, dict):
        raise UsageError(f"{file} holds {type(data).__name__}, not the mapping of a promptfooconfig")
    resolved: dict[str, Any] = _resolved(data, data, file, 0)
    return resolved


def _resolved(part: Any, whole: dict[str, Any], file: Path, depth: int) -> Any:
    if depth > 100:
        raise UsageError(f"{file}: its values or its references lie more than 100 levels deep")
    if isinstance(part, dict):
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            found: Any = whole
            for name in reference[2:].split("/"):
                if not isinstance(found, dict) or name not in found:
                    raise UsageError(f"{file}: $ref {reference!r} leads nowhere; it names keys of this file")
                found = found[name]
            return _resolved(found, whole, file, depth + 1)
        return {str(key): _resolved(value, whole, file, depth + 1) for key, value in part.items()}
    return [_resolved(item, whole, file, depth + 1) for item in part] if isinstance(part, list) else part
