"""Regular expressions that cannot hang the run."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

import regex
from pydantic import Field

from harness.evals.checks.expectations import expected_text
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import Text
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown, verdict

Flags = Annotated[str, Field(pattern=r"^[aimsx]*$", description="letters of aimsx, as in (?i)")]
Milliseconds = Annotated[int, Field(ge=1, le=10_000)]

_FLAGS = {"a": regex.ASCII, "i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}


def compiled(pattern: str, flags: str = "") -> Any:
    """A compiled pattern of the package ``regex``; ValueError when it is none."""
    try:
        return regex.compile(pattern, reduce(or_, (_FLAGS[letter] for letter in flags), 0))
    except regex.error as error:
        message = f"setting 'pattern' = {shown(pattern)}: not a regular expression ({error})"
        raise ValueError(message) from error


def found(pattern: Any, text: str, *, full: bool = False, timeout_ms: int = 250) -> bool:
    """Whether ``pattern`` occurs in ``text`` (``full``: is all of it); Unscored after ``timeout_ms``."""
    try:
        matcher = pattern.fullmatch if full else pattern.search
        return matcher(text, timeout=timeout_ms / 1000) is not None
    except TimeoutError as error:
        raise Unscored(
            f"pattern {shown(pattern.pattern)} needed more than {timeout_ms} ms on {len(text)} characters"
        ) from error


@check("regex", expects=True, stand_in="pattern", when_empty="fail")
def regex_check(
    *,
    pattern: Text | None = None,
    flags: Flags = "",
    full: bool = False,
    negate: bool = False,
    allow_empty: bool = False,  # noqa: ARG001 - read by the guard around every check
    timeout_ms: Milliseconds = 250,
) -> Run:
    r"""The pattern occurs in the output.

    ``full``: it covers the whole output; ``negate``: it must not occur; ``flags`` are letters of ``aimsx``. An empty
    output gives 0 unless ``allow_empty``. Python's syntax: ``$`` also matches before a last line end, ``\d`` is any
    Unicode digit without flag ``a``. A pattern that backtracks beyond ``timeout_ms`` gives no score.
    """
    ready = None if pattern is None else compiled(pattern, flags)

    def run(subject: Subject) -> Score:
        try:
            wanted = ready or compiled(expected_text(subject), flags)
        except ValueError as error:
            raise Unscored(str(error)) from error
        hit = found(wanted, subject.output, full=full, timeout_ms=timeout_ms)
        return verdict(hit is not negate, f"pattern {shown(wanted.pattern)} {'occurs' if hit else 'does not match'}")

    return run
