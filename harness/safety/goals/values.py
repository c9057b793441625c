"""Values inside an output, by JSONPath."""

from __future__ import annotations

from typing import Any

import orjson

from harness.errors import UsageError
from harness.safety.goals.seen import UnscoredError


class Path:
    """A JSONPath; UsageError when it is none."""

    def __init__(self, text: str) -> None:
        from jsonpath_ng import parse
        from jsonpath_ng.exceptions import JSONPathError

        try:
            self._path = parse(text)
        except (JSONPathError, ValueError) as error:
            raise UsageError(f"{text!r} is no JSONPath: {error}") from error
        self.text = text

    def find(self, value: Any) -> list[Any]:
        """Every value there; a text that is JSON is read first, a bare value is its own root."""
        return [found.value for found in self._path.find(_read(value, self.text))]

    def needed(self, value: Any) -> list[Any]:
        """As ``find``; UnscoredError where there is none."""
        found = self.find(value)
        if not found:
            raise UnscoredError(f"{self.text!r} finds nothing in the output")
        return found


def _read(value: Any, path: str) -> Any:
    if not isinstance(value, str) or path == "$":
        return value
    try:
        return orjson.loads(value)
    except ValueError as error:
        raise UnscoredError(f"the output is no JSON, so {path!r} cannot be read in it") from error
