"""One field of a JSON output against the expectation."""

from __future__ import annotations

from typing import Any, Literal

from harness.evals.checks.expectations import NotJson, as_decimal, expected, json_equal, json_value
from harness.evals.checks.matching import normalised
from harness.evals.checks.numbers import close
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import JsonPath, Tolerance, compiled_path
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown, verdict

Mode = Literal["exact", "normalised", "numeric"]


def values_at(path: str, value: Any) -> list[Any]:
    """What stands at a JSONPath, in document order."""
    return [match.value for match in compiled_path(path).find(value)]


@check("field_match", expects=True, stand_in="value")
def field_match(
    *, path: JsonPath, mode: Mode = "exact", tolerance: Tolerance = 0.0, many: bool = False, value: Any = None
) -> Run:
    """The value at JSONPath ``path`` of the JSON output is the expected one.

    ``exact`` compares JSON values, ``normalised`` texts without regard to case, blanks and punctuation, ``numeric``
    numbers within ``tolerance``. ``many``: all values found, as a list, are compared with the expected list.
    """

    def run(subject: Subject) -> Score:
        want = expected(subject, value)
        _fits(mode, want, many)
        try:
            found = values_at(path, json_value(subject))
        except NotJson as error:
            return Score(0.0, str(error))
        if many:
            got: Any = found
            passed = len(found) == len(want) and all(_same(mode, *pair, tolerance) for pair in zip(found, want))
        elif len(found) > 1:
            raise Unscored(f"{path} finds {len(found)} values; set 'many' to compare them with a list")
        elif not found:
            return Score(0.0, f"nothing at {path}")
        else:
            got = found[0]
            passed = _same(mode, got, want, tolerance)
        return verdict(passed, f"{path}: expected {shown(want)}, got {shown(got)}")

    return run


def _fits(mode: Mode, want: Any, many: bool) -> None:
    if many and not isinstance(want, list):
        raise Unscored(f"the expectation must be a list, because 'many' is set, not {shown(want)}")
    for item in want if many else [want]:
        if mode == "numeric" and as_decimal(item) is None:
            raise Unscored(f"the expectation must be a finite number, not {shown(item)}")
        if mode == "normalised" and (not isinstance(item, str) or not normalised(item)):
            raise Unscored(f"the expectation must be text with letters or digits, not {shown(item)}")


def _same(mode: Mode, got: Any, want: Any, tolerance: float) -> bool:
    if mode == "exact":
        return json_equal(got, want)
    if mode == "normalised":
        return isinstance(got, str) and normalised(got) == normalised(want)
    number, target = as_decimal(got), as_decimal(want)
    return number is not None and target is not None and close(number, target, tolerance)
