"""The outputs of a run, left on disk: a page shows a few dozen of them, a run may hold a hundred thousand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson

OUTPUTS = "artifacts/regression/outputs.jsonl"

OutputKey: TypeAlias = tuple[str, str, str, int]
"""App, variant, case and repeat."""

Seen = Callable[[str, str, str, Mapping[str, Any]], object]


class Outputs:
    """Reads the outputs file once to know where each row stands, and a row again when it is asked for.

    ``problems`` gets a sentence for every line that is no JSON; ``seen(app, variant, case, row)`` is told every row.
    """

    def __init__(self, path: Path, problems: list[str], seen: Seen) -> None:
        self._path = path
        self._places: dict[OutputKey, int] = {}
        if path.exists():
            self._scan(problems, seen)

    def get(self, key: OutputKey) -> Mapping[str, Any] | None:
        """The row of ``key``, None when there is none."""
        if key not in self._places:
            return None
        with self._path.open("rb") as stream:
            stream.seek(self._places[key])
            row: Mapping[str, Any] = _parsed(stream.readline())
        return row

    def _scan(self, problems: list[str], seen: Seen) -> None:
        # Every line brings its texts anew; of equal names one is kept.
        one: dict[str, str] = {}
        place = 0
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                start, place = place, place + len(line)
                try:
                    row = _parsed(line)
                except ValueError as error:
                    problems.append(f"{OUTPUTS}:{number}: not a JSON line ({error}); its output is not in this report.")
                    continue
                if isinstance(row, dict):
                    app, variant, case = (str(row.get(name, "")) for name in ("app", "variant", "case"))
                    app, variant, case = (
                        one.setdefault(app, app),
                        one.setdefault(variant, variant),
                        one.setdefault(case, case),
                    )
                    self._places[app, variant, case, int(row.get("repeat") or 0)] = start
                    seen(app, variant, case, row)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        # A model may emit half a character; the standard parser keeps lone surrogates, orjson refuses them.
        return json.loads(line.decode("utf-8", "replace"))
