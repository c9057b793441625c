"""What promptfoo's deterministic assertions say of an output, rule by rule, without promptfoo.

Each rule takes the assertion and the output and says whether it holds and with which score. They were written after
promptfoo 0.123 and are held against it in the tests of peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from harness.evals.checks.expectations import NotJson, json_equal, read_json
from harness.evals.checks.structure import schema_validator
from harness.evals.checks.subject import Subject, Unscored, shown
from harness.evals.promptfoo.overlaps import bleu, gleu, rouge_1
from harness.evals.promptfoo.values import comma_separated, js_text, python_pattern

_REGEX_TIMEOUT_S = 0.25
_LONGEST_JSON = 100_000


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether an assertion holds, its score from 0 to 1, and why it does not."""

    passed: bool
    score: float
    reason: str = ""


Rule = Callable[[Mapping[str, Any], Subject], "Ruling | bool"]
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def split_type(kind: str) -> tuple[bool, str]:
    """Whether the type is negated, and the type without ``not-``."""
    return kind.startswith("not-"), kind.removeprefix("not-")


def known(kind: str) -> bool:
    """Whether a rule stands for the assertion type, negated or not."""
    return split_type(kind)[1] in RULES


def judge(assertion: Mapping[str, Any], subject: Subject) -> Ruling:
    """What the assertion says; Unscored when it cannot tell, for instance because its value is of the wrong kind."""
    negated, kind = split_type(str(assertion.get("type", "")))
    if kind == "assert-set":
        return judge_all(assertion, subject)
    if kind not in RULES:
        raise Unscored(f"no rule for an assertion of type {assertion.get('type')!r}")
    found = RULES[kind](assertion, subject)
    if isinstance(found, bool):
        value = "" if assertion.get("value") is None else f" {shown(assertion['value'])}"
        found = Ruling(found, float(found), f"{assertion['type']}{value} does not hold")
    if negated:
        found = Ruling(not found.passed, 1.0 - found.score, found.reason)
    # A weight of nothing is a figure to look at, which fails nobody.
    return Ruling(True, found.score) if assertion.get("weight") == 0 else found


def judge_all(group: Mapping[str, Any], subject: Subject) -> Ruling:
    """A set or a whole test: every assertion must hold, or with a ``threshold`` their weighted mean must reach it."""
    weights, total, failed = 0.0, 0.0, ""
    for assertion in group["assert"]:
        ruling = judge(assertion, subject)
        weight = float(assertion.get("weight", 1))
        weights, total = weights + weight, total + weight * ruling.score
        failed = failed if ruling.passed else ruling.reason or "an assertion failed"
    score = total / weights if weights else 0.0
    threshold = group.get("threshold")
    if threshold is None:
        return Ruling(not failed, score, failed)
    return Ruling(score >= threshold, score, f"the mean score {score:.3g} is below {threshold}")


def _text(assertion: Mapping[str, Any]) -> str:
    value = assertion.get("value")
    if isinstance(value, str | int | float) and js_text(value):
        return js_text(value)
    raise Unscored(f"{assertion['type']} needs a text, not {shown(value)}")


def _texts(assertion: Mapping[str, Any]) -> list[str]:
    value = assertion.get("value")
    if isinstance(value, str):
        try:
            value = comma_separated(value)
        except ValueError as error:
            raise Unscored(f"{assertion['type']}: {error}") from error
    if not isinstance(value, Sequence) or not value:
        raise Unscored(f"{assertion['type']} needs a list of texts, not {shown(value)}")
    return [js_text(item) for item in value]


def _threshold(assertion: Mapping[str, Any], default: float) -> float:
    return float(default if assertion.get("threshold") is None else assertion["threshold"])


@_rule("equals")
def _equals(assertion: Mapping[str, Any], subject: Subject) -> bool:
    value = assertion.get("value")
    if isinstance(value, Mapping | list):
        try:
            return json_equal(value, read_json(subject.output))
        except NotJson:
            return False
    return js_text(value) == subject.output


@_rule("contains", "icontains")
def _contains(assertion: Mapping[str, Any], subject: Subject) -> bool:
    fold = _fold(assertion)
    return fold(_text(assertion)) in fold(subject.output)


@_rule("contains-any", "icontains-any")
def _contains_any(assertion: Mapping[str, Any], subject: Subject) -> bool:
    fold = _fold(assertion)
    return any(fold(text) in fold(subject.output) for text in _texts(assertion))


@_rule("contains-all", "icontains-all")
def _contains_all(assertion: Mapping[str, Any], subject: Subject) -> bool:
    fold = _fold(assertion)
    return all(fold(text) in fold(subject.output) for text in _texts(assertion))


def _fold(assertion: Mapping[str, Any]) -> Callable[[str], str]:
    return str.lower if split_type(assertion["type"])[1].startswith("i") else str


@_rule("starts-with")
def _starts_with(assertion: Mapping[str, Any], subject: Subject) -> bool:
    return subject.output.startswith(_text(assertion))


@_rule("regex")
def _regex(assertion: Mapping[str, Any], subject: Subject) -> bool:
    try:
        pattern = regex.compile(python_pattern(_text(assertion)))
        return pattern.search(subject.output, timeout=_REGEX_TIMEOUT_S) is not None
    except ValueError as error:
        raise Unscored(str(error)) from error
    except TimeoutError as error:
        raise Unscored(f"the pattern needed more than {_REGEX_TIMEOUT_S * 1000:.0f} ms") from error


@_rule("is-json")
def _is_json(assertion: Mapping[str, Any], subject: Subject) -> bool:
    try:
        value = read_json(subject.output)
    except NotJson:
        return False
    return _fits(assertion, value)


@_rule("contains-json")
def _contains_json(assertion: Mapping[str, Any], subject: Subject) -> bool:
    return any(_fits(assertion, value) for value in json_objects(subject.output))


def _fits(assertion: Mapping[str, Any], value: Any) -> bool:
    schema = assertion.get("value")
    if not schema:
        return True
    if not isinstance(schema, Mapping):
        raise Unscored(f"{assertion['type']} needs a JSON Schema, not {shown(schema)}")
    try:
        return bool(schema_validator(schema)[0].is_valid(value))
    except ValueError as error:
        raise Unscored(str(error)) from error


def json_objects(text: str) -> Iterator[Any]:
    """The JSON objects that stand in a text, from left to right, none inside another."""
    import json

    decoder, place = json.JSONDecoder(), 0
    while (place := text.find("{", place)) >= 0:
        try:
            value, length = decoder.raw_decode(text[place : place + _LONGEST_JSON])
        except (ValueError, RecursionError):
            place += 1
            continue
        yield value
        place += length


@_rule("levenshtein")
def _levenshtein(assertion: Mapping[str, Any], subject: Subject) -> bool:
    from rapidfuzz.distance import Levenshtein

    return bool(Levenshtein.distance(subject.output, _text(assertion)) <= _threshold(assertion, 5))


@_rule("bleu", "gleu", "rouge-n")
def _overlap(assertion: Mapping[str, Any], subject: Subject) -> Ruling:
    kind, value = split_type(assertion["type"])[1], assertion.get("value")
    references = [value] if isinstance(value, str) else value
    if not isinstance(references, list) or not references or not all(isinstance(text, str) for text in references):
        raise Unscored(f"{kind} needs a text, not {shown(value)}")
    if kind == "rouge-n":
        score, threshold = rouge_1(subject.output, references[0]), _threshold(assertion, 0.75)
    else:
        score, threshold = {"bleu": bleu, "gleu": gleu}[kind](subject.output, references), _threshold(assertion, 0.5)
    return Ruling(score >= threshold, score, f"{kind} is {score:.3f}, the threshold {threshold:g}")


@_rule("word-count")
def _word_count(assertion: Mapping[str, Any], subject: Subject) -> bool:
    value, count = assertion.get("value"), len(subject.output.split())
    if isinstance(value, Mapping) and ("min" in value or "max" in value):
        return bool(value.get("min", 0) <= count <= value.get("max", count))
    try:
        return count == float(js_text(value))
    except ValueError as error:
        raise Unscored(f"word-count needs a number or min and max, not {shown(value)}") from error


@_rule("latency")
def _latency(assertion: Mapping[str, Any], subject: Subject) -> bool:
    if subject.latency_ms is None or assertion.get("threshold") is None:
        raise Unscored("latency needs a threshold in milliseconds and a recorded latency")
    return subject.latency_ms <= float(assertion["threshold"])


@_rule("cost")
def _cost(assertion: Mapping[str, Any], subject: Subject) -> bool:
    """``config`` holds the prices of a token read and a token written, taken from the provider."""
    prices = assertion.get("config") or {}
    if subject.tokens_in is None or subject.tokens_out is None or assertion.get("threshold") is None:
        raise Unscored("cost needs a threshold and the endpoint's token counts")
    if not {"input", "output"} <= prices.keys():
        raise Unscored("cost needs the price of a token in config.input and config.output")
    paid = subject.tokens_in * float(prices["input"]) + subject.tokens_out * float(prices["output"])
    return paid <= float(assertion["threshold"])
