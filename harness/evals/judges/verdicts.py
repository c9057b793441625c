"""From what a judge wrote to probabilities of its answers: by scores, by log-probabilities, or by its words."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.evals.checks.subject import shown
from harness.serve.protocol import Generation, TokenLogprob

How = Literal["options", "logprobs", "text"]
# Below this share of the probability at its place the answer was a by-product of something else.
LEAST_MASS = 0.2
_VERDICT = re.compile(r"verdict\W{0,6}(\w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply says: the probability of each answer, or ``reason`` why it says nothing."""

    probabilities: Mapping[str, float]
    how: How
    reason: str = ""


def read(generation: Generation, answers: Sequence[str]) -> Reading:
    """The probabilities of ``answers``, which sum to 1; empty with a reason when the reply is no verdict."""
    if generation.scores is not None:
        weights = {answer: math.exp(generation.scores.get(answer, -math.inf)) for answer in answers}
        return _normalised(weights, "options")
    found = last_verdict(generation.text, answers)
    if isinstance(found, str):
        return Reading({}, "text", found)
    answer, place = found
    token = _token_at(generation.logprobs or (), place, generation.text)
    if token is not None and _answer_of(token.text, answers) == answer:
        return _by_alternatives(token, answers)
    return Reading({other: float(other == answer) for other in answers}, "text")


def last_verdict(reply: str, answers: Sequence[str]) -> tuple[str, int] | str:
    """The answer and where it stands in ``reply``, or in words why there is none.

    The last ``VERDICT: x`` counts, whatever was quoted before it; one that is not on offer is no verdict, and nothing
    earlier stands in for it. Without any such line the reply has to begin or end with an answer and name no other.
    """
    # One invisible character for one blank: places stay where they were.
    text = "".join(" " if unicodedata.category(sign) == "Cf" else sign for sign in reply)
    if not text.strip():
        return "the judge said nothing"
    marked = list(_VERDICT.finditer(text))
    if marked:
        answer = _answer_of(marked[-1].group(1), answers)
        if answer is None:
            return f"the judge's last verdict is {shown(marked[-1].group(1))}, not one of {', '.join(answers)}"
        return answer, marked[-1].start(1)
    words = [(found.group(0), found.start()) for found in re.finditer(r"\w+", text)]
    named = [(answer, place) for word, place in words if (answer := _answer_of(word, answers)) is not None]
    outer = {words[0][1], words[-1][1]} if words else set()
    standing = [each for each in named if each[1] in outer]
    if not standing or len({answer for answer, _ in named}) > 1:
        return f"no verdict in the judge's reply {shown(reply)}; it may answer {', '.join(answers)}"
    return standing[-1]


def _answer_of(word: str, answers: Sequence[str]) -> str | None:
    bare = word.strip().strip(".,:;!?\"'`*()[]{}")
    # "a" is an article: an answer of one letter has to be written as it is.
    return next((a for a in answers if bare == a or (len(a) > 1 and bare.casefold() == a.casefold())), None)


def _token_at(tokens: Sequence[TokenLogprob], place: int, text: str) -> TokenLogprob | None:
    if "".join(token.text for token in tokens) != text:
        # Some servers leave out stripped blanks or write bytes otherwise: then places mean nothing.
        return None
    end = 0
    for token in tokens:
        end += len(token.text)
        if place < end:
            return token
    return None


def _by_alternatives(token: TokenLogprob, answers: Sequence[str]) -> Reading:
    weights = dict.fromkeys(answers, 0.0)
    for text, _, logprob in token.top or ((token.text, token.data, token.logprob),):
        answer = _answer_of(text, answers)
        if answer is not None:
            weights[answer] += math.exp(min(logprob, 0.0))
    mass = sum(weights.values())
    if mass < LEAST_MASS:
        return Reading({}, "logprobs", f"the judge gave all its answers together only {mass:.0%} of the probability")
    return _normalised(weights, "logprobs")


def _normalised(weights: Mapping[str, float], how: How) -> Reading:
    total = sum(weights.values())
    if not math.isfinite(total) or total <= 0:
        return Reading({}, how, "the judge's scores are no probabilities")
    return Reading({answer: weight / total for answer, weight in weights.items()}, how)
