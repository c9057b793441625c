"""Names and numbers that an output adds to its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import regex
from pydantic import Field

from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, Unscored, shown, verdict

Source = Annotated[str, Field(pattern=r"^(inputs|steps)(\.[^.]+)+$", description="inputs.NAME or steps.ID[.FIELD]")]

_WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*")
_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
# A capital after these says nothing: sentences and quotations begin with one.
_BEGINS = regex.compile(r"(?:^|[.!?:;…\n]['\"”’)\]]*\s*|[\"“‘«(\[]\s*|^\s*[-*•]\s+)\Z", flags=regex.MULTILINE)
_PRONOUN = {"i", "i'm", "i've", "i'd", "i'll"}
_SPELLED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_AS_DIGITS = {word: str(number) for number, word in enumerate(_SPELLED)}


def _word(token: str) -> str:
    return token.replace("’", "'").casefold().removesuffix("'s").removesuffix("'")


def _number(token: str) -> str:
    """Grouped thousands and trailing zeros gone: 1,200 is 1200, 3.50 is 3.5."""
    plain: str = regex.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", token)
    return plain.rstrip("0").rstrip(".") if "." in plain and plain.count(".") == 1 else plain


def _names(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        token = match.group()
        begins = _BEGINS.search(text[max(0, match.start() - 8) : match.start()]) is not None or match.start() == 0
        if token[0].isupper() and not begins and token.replace("’", "'").lower() not in _PRONOUN:
            yield token


def new_entities(text: str, source: str, *, names: bool = True, numbers: bool = True) -> list[str]:
    """Capitalised words (except where a sentence begins) and numbers of ``text`` that ``source`` lacks, in order."""
    found: dict[str, None] = {}
    if names:
        known = {_word(match.group()) for match in _WORD.finditer(source)}
        found |= dict.fromkeys(name for name in _names(text) if _word(name) not in known)
    if numbers:
        digits = {_number(match.group()) for match in _NUMBER.finditer(source)}
        digits |= {_AS_DIGITS[word] for word in map(_word, _WORD.findall(source)) if word in _AS_DIGITS}
        found |= dict.fromkeys(token for token in _NUMBER.findall(text) if _number(token) not in digits)
    return list(found)


@check("no_new_entities", when_empty="fail")
def no_new_entities(
    *, source: Source | Annotated[list[Source], Field(min_length=1)], names: bool = True, numbers: bool = True
) -> Run:
    """The output names nobody and no number that ``source`` (``inputs.article``, ``steps.ID.field``, or several) lacks.

    Names are capitalised words, whole and whatever their case in the source; digits match spelled numbers up to
    twenty in the source. It knows no meaning: a name at the start of a sentence is not seen, a Headline In Capitals
    that rephrases looks new, and a name put to the wrong deed passes. An empty output gives 0.
    """
    places = [source] if isinstance(source, str) else source

    def run(subject: Subject) -> Score:
        text = "\n".join(_text_at(subject, place) for place in places)
        fresh = new_entities(subject.output, text, names=names, numbers=numbers)
        return verdict(not fresh, f"not in {', '.join(places)}: {', '.join(map(shown, fresh[:8]))}")

    return run


def _text_at(subject: Subject, place: str) -> str:
    first, *rest = place.split(".")
    value: Any = subject.inputs if first == "inputs" else subject.steps
    for key in rest:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise Unscored(f"{place} holds no text to compare with")
    return value
