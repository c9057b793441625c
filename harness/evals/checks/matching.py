"""Is the output what was expected? Exactly, as a JSON value, after normalising, or as one of several."""

from __future__ import annotations

import unicodedata

import regex

from harness.evals.checks.expectations import (
    NotJson,
    expected,
    expected_text,
    expected_texts,
    json_equal,
    json_value,
)
from harness.evals.checks.registry import check
from harness.evals.checks.setting_types import Texts
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown, verdict

_PUNCTUATION = regex.compile(r"\p{P}+")


@check("exact_match", expects=True)
def exact_match(*, strip: bool = False, ignore_case: bool = False) -> Run:
    """The output is the expected text, character by character.

    ``strip`` drops blanks around both, ``ignore_case`` folds case.
    """

    def run(subject: Subject) -> Score:
        want, got = expected_text(subject), subject.output
        if strip:
            want, got = want.strip(), got.strip()
        if ignore_case:
            want, got = want.casefold(), got.casefold()
        return verdict(want == got, f"expected {shown(want)}, got {shown(got)}")

    return run


@check("equals", expects=True)
def equals() -> Run:
    """The output's JSON value equals the expectation, whatever the order of keys; 1 equals 1.0, true is not 1.

    An expected text is compared with the output as it stands.
    """

    def run(subject: Subject) -> Score:
        want = expected(subject)
        if isinstance(want, str):
            return verdict(want == subject.output, f"expected {shown(want)}, got {shown(subject.output)}")
        try:
            got = json_value(subject)
        except NotJson as error:
            return Score(0.0, str(error))
        return verdict(json_equal(want, got), f"expected {shown(want)}, got {shown(got)}")

    return run


def normalised(
    text: str, *, unicode: bool = True, case: bool = True, whitespace: bool = True, punctuation: bool = True
) -> str:
    """``text`` in Unicode's NFKC form, case folded, without punctuation (category P), with single blanks."""
    if unicode:
        text = unicodedata.normalize("NFKC", text)
    if case:
        text = text.casefold()
        # Folding can undo the composition (ǰ, ΐ); Unicode's NFKC_Casefold normalises again for that reason.
        text = unicodedata.normalize("NFKC", text) if unicode else text
    if punctuation:
        text = _PUNCTUATION.sub("", text)
    return " ".join(text.split()) if whitespace else text


@check("normalised_match", expects=True)
def normalised_match(
    *, unicode: bool = True, case: bool = True, whitespace: bool = True, punctuation: bool = True
) -> Run:
    """Output and expectation are the same text once differences that do not matter are gone.

    ``unicode``: NFKC, ``case``: folded, ``whitespace``: runs become one blank, none around, ``punctuation``: removed
    (so "it's" equals "its", and "-5" equals "5": for numbers there is ``numeric``).
    """

    def plain(text: str) -> str:
        return normalised(text, unicode=unicode, case=case, whitespace=whitespace, punctuation=punctuation)

    def run(subject: Subject) -> Score:
        want, got = plain(expected_text(subject)), plain(subject.output)
        if not want:
            raise Unscored(f"nothing is left of the expectation {shown(subject.expect)} once normalised")
        return verdict(want == got, f"expected {shown(want)}, got {shown(got)}")

    return run


@check("one_of", expects=True, stand_in="values")
def one_of(*, values: Texts | None = None, strip: bool = True, ignore_case: bool = False) -> Run:
    """The output is one of ``values`` (or of the case's list of texts)."""

    def plain(text: str) -> str:
        text = text.strip() if strip else text
        return text.casefold() if ignore_case else text

    def run(subject: Subject) -> Score:
        allowed = expected_texts(subject, values)
        got = plain(subject.output)
        return verdict(got in map(plain, allowed), f"{shown(got)} is none of {shown(allowed)}")

    return run
