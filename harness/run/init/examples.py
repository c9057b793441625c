"""Examples that a user has, in the shapes that such files usually have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.errors import Problem, UsageError

_ASKED = ("input", "message", "question", "prompt", "query", "text")
_EXPECTED = ("expected", "output", "answer", "label", "completion", "ideal", "target", "reference")
_SLICE = ("slice", "category", "tag", "topic")
_MOST = 20_000
_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Example:
    """One example: what is asked, what came before it, what is expected (None: nothing), and its slice."""

    text: str
    expected: Any
    slice: str = ""
    before: tuple[Mapping[str, str], ...] = ()


def read_examples(file: Path) -> list[Example]:
    """The rows of a JSON-lines file; UsageError names every line that is none, and says what would be one."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        message = f"--examples {file}: {error.strerror}; give a JSON-lines file"
        raise UsageError(message) from error
    examples: list[Example] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            examples.append(_example(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            problems.append(Problem(str(file), number, f"not valid JSON: {error}"))
        except ValueError as error:
            problems.append(Problem(str(file), number, str(error)))
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise UsageError.of(problems)
    if not examples:
        raise UsageError(f'--examples {file} holds no row; a row is {{"input": "...", "expected": "..."}}')
    if len(examples) > _MOST:
        raise UsageError(f"--examples {file} holds {len(examples)} rows; at most {_MOST} make a suite")
    return examples


def _example(row: Any) -> Example:
    if not isinstance(row, dict):
        message = f'expected an object such as {{"input": "...", "expected": "..."}}, found {type(row).__name__}'
        raise ValueError(message)  # noqa: TRY004 - a line of the user's file
    part = next((str(row[key]) for key in _SLICE if isinstance(row.get(key), str) and row[key].strip()), "")
    if isinstance(row.get("messages"), list):
        return _dialogue(row["messages"], _first(row, _EXPECTED), part)
    asked = _first(row, _ASKED)
    if not isinstance(asked, str) or not asked.strip():
        message = (
            f"no text under any of {', '.join(_ASKED)} or messages; the row has {', '.join(map(str, row)) or 'no key'}"
        )
        raise ValueError(message)
    return Example(asked, _first(row, _EXPECTED), part)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _dialogue(messages: list[Any], expected: Any, part: str) -> Example:
    """A chat; where the assistant has the last word, that is what is expected."""
    turns = []
    for turn in messages:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            message = "a message needs 'role' and a text 'content'"
            raise ValueError(message)  # noqa: TRY004 - a line of the user's file
        # The system's word is the prompt's business, not the case's.
        if turn.get("role") in {"user", "assistant"}:
            turns.append({"role": turn["role"], "content": turn["content"]})
    if turns and turns[-1]["role"] == "assistant":
        expected = turns.pop()["content"] if expected is None else expected
    if not turns or turns[-1]["role"] != "user":
        message = "messages hold no message of the user that could be answered"
        raise ValueError(message)
    return Example(turns[-1]["content"], expected, part, tuple(turns[:-1]))
