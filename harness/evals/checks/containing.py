"""Does the output hold, begin with or end with given texts?"""

from __future__ import annotations

from collections.abc import Callable

from harness.evals.checks.expectations import expected_text, expected_texts
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import Text, Texts
from harness.evals.checks.subject import Run, Score, Subject, shown, verdict


def _folded(text: str, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text


@check("contains", expects=True, stand_in="text")
def contains(*, text: Text | None = None, ignore_case: bool = False) -> Run:
    """The output holds ``text``."""

    def run(subject: Subject) -> Score:
        want = expected_text(subject, text)
        found = _folded(want, ignore_case) in _folded(subject.output, ignore_case)
        return verdict(found, f"{shown(want)} is missing")

    return run


@check("not_contains", expects=True, stand_in="text", when_empty="fail")
def not_contains(*, text: Text | None = None, ignore_case: bool = False) -> Run:
    """The output says something and does not hold ``text``; an empty output gives 0."""

    def run(subject: Subject) -> Score:
        unwanted = expected_text(subject, text)
        found = _folded(unwanted, ignore_case) in _folded(subject.output, ignore_case)
        return verdict(not found, f"{shown(unwanted)} stands in the output")

    return run


@check("contains_all", expects=True, stand_in="texts")
def contains_all(*, texts: Texts | None = None, ignore_case: bool = False) -> Run:
    """The output holds every one of ``texts``."""

    def run(subject: Subject) -> Score:
        output = _folded(subject.output, ignore_case)
        missing = [text for text in expected_texts(subject, texts) if _folded(text, ignore_case) not in output]
        return verdict(not missing, f"missing: {', '.join(map(shown, missing))}")

    return run


@check("contains_any", expects=True, stand_in="texts")
def contains_any(*, texts: Texts | None = None, ignore_case: bool = False) -> Run:
    """The output holds at least one of ``texts``."""

    def run(subject: Subject) -> Score:
        output, wanted = _folded(subject.output, ignore_case), expected_texts(subject, texts)
        found = any(_folded(text, ignore_case) in output for text in wanted)
        return verdict(found, f"none is there of {', '.join(map(shown, wanted))}")

    return run


def _at_an_end(
    text: str | None, ignore_case: bool, strip: bool, matches: Callable[[str, str], bool], where: str
) -> Run:
    def run(subject: Subject) -> Score:
        want, got = expected_text(subject, text), subject.output
        got = got.strip() if strip else got
        passed = matches(_folded(got, ignore_case), _folded(want, ignore_case))
        seen = got[:80] if where == "begins" else got[-80:]
        return verdict(passed, f"the output {where} with {shown(seen)}, not {shown(want)}")

    return run


@check("starts_with", expects=True, stand_in="text")
def starts_with(*, text: Text | None = None, ignore_case: bool = False, strip: bool = False) -> Run:
    """The output begins with ``text``; ``strip`` first drops blanks around the output."""
    return _at_an_end(text, ignore_case, strip, str.startswith, "begins")


@check("ends_with", expects=True, stand_in="text")
def ends_with(*, text: Text | None = None, ignore_case: bool = False, strip: bool = False) -> Run:
    """The output ends with ``text``; ``strip`` first drops blanks around the output."""
    return _at_an_end(text, ignore_case, strip, str.endswith, "ends")
