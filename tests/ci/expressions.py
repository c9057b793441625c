"""The expressions of GitHub Actions, as far as this repository's workflows use them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+(?:\.\d+)?)|([A-Za-z_][\w-]*)|(==|!=|&&|\|\||[!().,\[\]]))")
_INSERT = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
STATUS = ("always", "success", "failure", "cancelled")


@dataclass(frozen=True)
class Scope:
    """What an expression sees: contexts by name, how things went so far, and the folder that ``hashFiles`` reads."""

    contexts: Mapping[str, Any]
    failed: bool = False
    unmet: bool = False
    folder: Path = Path()

    def value(self, text: str) -> Any:
        """The value of an expression without its braces."""
        parser = _Parser(text, self)
        found = parser.either()
        assert parser.at == len(parser.tokens), f"{text!r} is not understood at token {parser.at}"
        return found

    def fill(self, value: Any) -> Any:
        """A value of the workflow with its expressions filled in; a lone one keeps its type."""
        if isinstance(value, dict):
            return {name: self.fill(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, str):
            return value
        whole = _INSERT.fullmatch(value.strip())
        if whole and value.count("${{") == 1:
            return self.value(whole.group(1))
        return _INSERT.sub(lambda found: _text(self.value(found.group(1))), value)

    def holds(self, condition: Any) -> bool:
        """Whether an ``if`` holds; without a status function it also asks that nothing failed before."""
        if condition is None:
            return not (self.failed or self.unmet)
        text = str(condition).strip()
        whole = _INSERT.fullmatch(text)
        text = whole.group(1) if whole else text
        asked = re.search(rf"\b({'|'.join(STATUS)})\(", text)
        return bool(self.value(text)) and bool(asked or not (self.failed or self.unmet))


class _Parser:
    def __init__(self, text: str, scope: Scope) -> None:
        self.tokens: list[str] = []
        self.scope, self.at, place = scope, 0, 0
        text = text.strip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            assert found, f"{text!r} is not understood at {place}"
            self.tokens.append(found.group(0).strip())
            place = found.end()

    def _next(self, *wanted: str) -> str:
        if self.at < len(self.tokens) and (not wanted or self.tokens[self.at] in wanted):
            self.at += 1
            return self.tokens[self.at - 1]
        return ""

    def either(self) -> Any:
        value = self.both()
        while self._next("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.equal()
        while self._next("&&"):
            other = self.equal()
            value = value and other
        return value

    def equal(self) -> Any:
        value = self.single()
        while sign := self._next("==", "!="):
            other = self.single()
            value = (value == other) == (sign == "==")
        return value

    def single(self) -> Any:
        if self._next("!"):
            return not self.single()
        if self._next("("):
            value = self.either()
            assert self._next(")")
            return value
        token = self._next()
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if re.fullmatch(r"-?\d+(\.\d+)?", token):
            return float(token)
        if token in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token]
        if self._next("("):
            return self._call(token)
        assert token in self.scope.contexts, f"no context {token!r}"
        return self._path(self.scope.contexts[token])

    def _path(self, value: Any) -> Any:
        while self._next("."):
            name = self._next()
            # GitHub: what is not there is null, and goes on being null.
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def _call(self, name: str) -> Any:
        arguments: list[Any] = []
        while not self._next(")"):
            arguments.append(self.either())
            self._next(",")
        scope = self.scope
        functions: Mapping[str, Callable[..., Any]] = {
            "always": lambda: True,
            "success": lambda: not (scope.failed or scope.unmet),
            "failure": lambda: scope.failed,
            "cancelled": lambda: False,
            "toJSON": lambda value: json.dumps(value, indent=2),
            "fromJSON": json.loads,
            "hashFiles": lambda *patterns: _hash(scope.folder, patterns),
        }
        assert name in functions, f"no function {name!r}"
        return functions[name](*arguments)


def _hash(folder: Path, patterns: tuple[str, ...]) -> str:
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() if files else ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
