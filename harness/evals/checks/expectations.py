"""Reading what a case expects: the right type, or no score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from harness.evals.checks.subject import Subject, Unscored, shown


def expected(subject: Subject, setting: Any = None) -> Any:
    """The setting that stands in for the expectation, else the case's expectation; Unscored when there is neither."""
    value = subject.expect if setting is None else setting
    if value is None:
        raise Unscored("the case expects nothing of this check")
    return value


def expected_text(subject: Subject, setting: str | None = None) -> str:
    """A text with something in it."""
    value = expected(subject, setting)
    if not isinstance(value, str):
        raise Unscored(f"the expectation must be text, not {kind(value)} {shown(value)}")
    if not value:
        raise Unscored("the expectation is an empty text, which every output would meet")
    return value


def expected_texts(subject: Subject, setting: list[str] | None = None) -> list[str]:
    """A list of at least one text, none of them empty."""
    value = expected(subject, setting)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Unscored(f"the expectation must be a list of texts, not {kind(value)} {shown(value)}")
    if not value or not all(value):
        raise Unscored("the expectation is an empty list or holds an empty text, which every output would meet")
    return list(value)


def references(subject: Subject) -> list[str]:
    """One text, or a list of texts of which the best counts."""
    if isinstance(subject.expect, str):
        return [expected_text(subject)]
    return expected_texts(subject)


def expected_number(subject: Subject, setting: Any = None) -> Decimal:
    """A finite number; true and false are none."""
    number = as_decimal(expected(subject, setting))
    if number is None:
        raise Unscored(f"the expectation must be a finite number, not {shown(expected(subject, setting))}")
    return number


def as_decimal(value: Any) -> Decimal | None:
    """``value`` as an exact number, None when it is none; 0.1 is one tenth, as it was written."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def kind(value: Any) -> str:
    """The JSON name of the type of ``value``."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", tuple: "a list"}
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), type(value).__name__)


class NotJson(ValueError):  # noqa: N818 - a finding about the output, no error of ours
    """The output is not JSON; the message says where."""


def json_value(subject: Subject) -> Any:
    """The output's JSON value: the step's own value, else the text read as JSON. Raises NotJson."""
    if subject.parsed is not None and not isinstance(subject.parsed, str):
        return subject.parsed
    return read_json(subject.output)


def read_json(text: str) -> Any:
    """``text`` read strictly: no NaN, no lone surrogates, at most 1,024 levels. Raises NotJson."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"the output is not JSON: {error}") from error


def json_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, but true is not 1, and the order of keys does not count."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)
