"""Assertions of promptfoo as checks: the twin that decides the same, the check ``promptfoo``, a judge, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evals.checks import build_check
from harness.evals.promptfoo import comma_separated, js_text, known, python_pattern, split_type
from harness.run.importing.config_file import Folder, Unreadable, is_code
from harness.run.importing.rendering import render

_PROGRAMS = frozenset({"javascript", "python", "ruby", "webhook"})
_WHY = {
    "classifier": "asks a classification service; write a check of your own (check: python) or a judge",
    "moderation": "asks an outside moderation service",
    "pi": "asks an outside scoring service",
    "is-html": "there is no check for HTML; write one (check: python)",
    "contains-html": "there is no check for HTML; write one (check: python)",
    "is-xml": "there is no check for XML; write one (check: python)",
    "contains-xml": "there is no check for XML; write one (check: python)",
    "is-sql": "there is no check for SQL; write one (check: python)",
    "contains-sql": "there is no check for SQL; write one (check: python)",
    "meteor": "METEOR needs WordNet; rouge or embedding_similarity are the nearest checks",
    "perplexity": "the app's answer carries no log-probabilities",
    "perplexity-score": "the app's answer carries no log-probabilities",
    "guardrails": "the provider's own guardrails are not part of an answer; see probes.yaml for attacks",
    "finish-reason": "the reason why a model stopped is not part of an app's answer",
    "select-best": "compares several outputs; a judge of kind pairwise compares candidate and baseline",
    "max-score": "compares several outputs; gates compare candidate and baseline",
    "human": "is filled in by a person in promptfoo's viewer",
    "context-recall": "looks at retrieved context, which the app's answer does not carry",
    "context-relevance": "looks at retrieved context, which the app's answer does not carry",
    "conversation-relevance": "looks at a whole conversation; write a judge",
    "tool-call-f1": "apps give no tool calls",
    "is-valid-function-call": "apps give no tool calls",
    "is-valid-openai-function-call": "apps give no tool calls",
    "is-valid-openai-tools-call": "apps give no tool calls",
}
JUDGED: Mapping[str, str] = {
    "llm-rubric": "rubric",
    "g-eval": "rubric",
    "model-graded-closedqa": "rubric",
    "factuality": "facts",
    "model-graded-factuality": "facts",
    "answer-relevance": "relevance",
    "context-faithfulness": "faithful",
}
"""The model-graded types, with the judge that stands for each."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """How an assertion comes over.

    ``name`` is the id that its check should have, ``expect`` what the case expects of it. ``rule`` is the assertion
    with its value filled in where it can be decided without a model, so that a whole test can be; ``note`` says how
    the check differs from the assertion, empty when it does not.
    """

    name: str
    check: str
    expect: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    rule: Mapping[str, Any] | None = None
    note: str = ""
    required: bool = True


def map_assertion(
    assertion: Mapping[str, Any], variables: Mapping[str, Any], folder: Folder, prices: Mapping[str, float]
) -> Mapped:
    """The check that stands for an assertion; Unreadable says why there is none."""
    kind = assertion.get("type")
    if not isinstance(kind, str):
        raise Unreadable("it has no type")
    negated, base = split_type(kind)
    if "transform" in assertion:
        raise Unreadable("it looks at an output that a program has transformed")
    if base in _PROGRAMS or (isinstance(assertion.get("value"), str) and _by_program(assertion["value"])):
        raise Unreadable("a program decides; port it to a check of your own (check: python)")
    if base == "assert-set":
        return _set(assertion, variables, folder, prices)
    filled = _filled(assertion, variables, folder)
    if base in JUDGED:
        return _judged(filled, base, negated, variables)
    if base.startswith("similar"):
        return _similar(filled, negated)
    if base == "is-refusal":
        note = "the check knows other phrases than promptfoo, and gives no score for an empty output"
        return Mapped(kind, "refusal", True, note=note, required=False)
    if not known(kind):
        raise Unreadable(_WHY.get(base, f"no check stands for {kind}"))
    return _deterministic(_checked(filled, base, prices), base, negated)


def _by_program(value: str) -> bool:
    return (value.startswith("file://") and is_code(value)) or value.startswith("package:")


def _filled(assertion: Mapping[str, Any], variables: Mapping[str, Any], folder: Folder) -> dict[str, Any]:
    filled = {key: assertion[key] for key in ("type", "value", "threshold", "weight") if assertion.get(key) is not None}
    value = filled.get("value")
    if isinstance(value, str) and value.startswith("file://"):
        filled["value"] = folder.load(value)
    elif isinstance(value, list):
        filled["value"] = [
            folder.load(item) if isinstance(item, str) and item.startswith("file://") else render(item, variables)
            for item in value
        ]
    elif value is not None:
        filled["value"] = render(value, variables)
    for key in ("threshold", "weight"):
        if key in filled and (isinstance(filled[key], bool) or not isinstance(filled[key], int | float)):
            raise Unreadable(f"{key} {filled[key]!r} is no number")
    return filled


def _checked(filled: dict[str, Any], base: str, prices: Mapping[str, float]) -> dict[str, Any]:
    """The assertion with what its rule needs; Unreadable when the rule could never decide it."""
    value = filled.get("value")
    if base in {"is-json", "contains-json"} and isinstance(value, str) and value.strip():
        filled["value"] = _schema_text(value)
    if base in {"latency", "cost"} and "threshold" not in filled:
        raise Unreadable(f"{base} without a threshold, which promptfoo refuses too")
    if base == "cost" and prices.keys() < {"input", "output"}:
        raise Unreadable("the price of a token is not in the config; a check 'tokens' with a gate bounds what is paid")
    if base == "cost":
        filled["config"] = dict(prices)
    if base in {"contains", "icontains", "starts-with", "regex", "levenshtein"} and not _is_text(value):
        raise Unreadable(f"it needs a text as value, not {value!r:.60}")
    if base in {"contains-any", "contains-all", "icontains-any", "icontains-all"}:
        filled["value"] = _texts(value)
    if base in {"bleu", "gleu", "rouge-n"} and not (_is_text(value) or (isinstance(value, list) and value)):
        raise Unreadable(f"it needs a text as value, not {value!r:.60}")
    if base == "regex":
        try:
            python_pattern(js_text(value))
        except ValueError as error:
            raise Unreadable(str(error)) from error
    return filled


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and js_text(value) != ""


def _texts(value: Any) -> list[str]:
    try:
        texts = comma_separated(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not isinstance(texts, list) or not texts:
        raise Unreadable(f"it needs a list of texts as value, not {value!r:.60}")
    return [js_text(item) for item in texts]


def _schema_text(value: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise Unreadable("its schema is neither JSON nor YAML") from error


def _deterministic(filled: dict[str, Any], base: str, negated: bool) -> Mapped:
    value, kind = filled.get("value"), filled["type"]
    advisory = filled.get("weight") == 0
    twin = None if negated or advisory else _TWINS.get(base, lambda _: None)(value)
    note = ""
    if base in {"is-json", "contains-json"} and value:
        note = _schema_note(value)
    if twin is None:
        plain = {key: filled[key] for key in ("type", "value", "threshold", "config") if key in filled}
        return Mapped(kind, "promptfoo", plain, rule=filled, note=note, required=not advisory)
    check, expect, settings = twin
    return Mapped(kind, check, expect, settings, filled, note)


def _schema_note(schema: Any) -> str:
    """How the schema is read otherwise than by promptfoo; Unreadable when it cannot be read at all."""
    if not isinstance(schema, Mapping):
        raise Unreadable(f"its schema is {type(schema).__name__}, not a mapping")
    try:
        build_check("json_schema", {"schema": dict(schema)}, suite_dir=Path())
    except UsageError as error:
        raise Unreadable(str(error)) from error
    return "'format' in the schema is not checked" if "'format'" in repr(schema) else ""


Twin = tuple[str, Any, Mapping[str, Any]] | None


def _equals(value: Any) -> Twin:
    if isinstance(value, Mapping | list):
        return ("equals", value, {}) if value else None
    return ("exact_match", js_text(value), {}) if js_text(value) else None


def _several(check: str, ignore_case: bool) -> Callable[[Any], Twin]:
    settings = {"ignore_case": True} if ignore_case else {}
    return lambda value: (check, value, settings) if all(value) else None


def _json(value: Any) -> Twin:
    return ("json_schema", True, {"schema": value}) if value else ("json_valid", True, {})


_TWINS: Mapping[str, Callable[[Any], Twin]] = {
    "equals": _equals,
    "contains": lambda value: ("contains", js_text(value), {}),
    "icontains": lambda value: ("contains", js_text(value), {"ignore_case": True}),
    "contains-any": _several("contains_any", ignore_case=False),
    "contains-all": _several("contains_all", ignore_case=False),
    "icontains-any": _several("contains_any", ignore_case=True),
    "icontains-all": _several("contains_all", ignore_case=True),
    "starts-with": lambda value: ("starts_with", js_text(value), {}),
    "regex": lambda value: ("regex", python_pattern(js_text(value)), {"allow_empty": True}),
    "is-json": _json,
}


def _set(
    assertion: Mapping[str, Any], variables: Mapping[str, Any], folder: Folder, prices: Mapping[str, float]
) -> Mapped:
    rules: list[Mapping[str, Any]] = []
    for number, item in enumerate(assertion.get("assert") or [], start=1):
        where = f"member {number} ({item.get('type')})"
        try:
            rule = map_assertion(item, variables, folder, prices).rule
        except Unreadable as error:
            raise Unreadable(f"{where}: {error}") from error
        if rule is None:
            raise Unreadable(f"{where} asks a model, and the set's mean cannot be had without its score")
        rules.append(rule)
    if not rules:
        raise Unreadable("it holds no assertion")
    kept = {key: assertion[key] for key in ("threshold", "weight") if assertion.get(key) is not None}
    whole = {"type": "assert-set", "assert": rules, **kept}
    plain = {key: value for key, value in whole.items() if key != "weight"}
    return Mapped("assert-set", "promptfoo", plain, rule=whole)


def _judged(filled: Mapping[str, Any], base: str, negated: bool, variables: Mapping[str, Any]) -> Mapped:
    if negated:
        raise Unreadable("a judge is asked whether something holds; turn the criterion around")
    value = filled.get("value")
    note = "a judge of this repository decides, which is advisory until people's labels show that it can"
    if base == "answer-relevance":
        return Mapped(base, "judge/relevance", True, note=note, required=False)
    if base == "context-faithfulness":
        value = variables.get("context")
        if not isinstance(value, str):
            raise Unreadable("it needs the variable 'context' as a text")
    if isinstance(value, list):
        value = "\n".join(f"- {item}" for item in value)
    if isinstance(value, Mapping):
        raise Unreadable("its criterion is an object; write it as a text")
    if value is None or not str(value).strip():
        raise Unreadable("it has no criterion as value")
    return Mapped(base, f"judge/{JUDGED[base]}", str(value), note=note, required=False)


def _similar(filled: Mapping[str, Any], negated: bool) -> Mapped:
    value = filled.get("value")
    if negated or not (_is_text(value) or (isinstance(value, list) and value and all(map(_is_text, value)))):
        raise Unreadable("embedding_similarity compares with a text or a list of texts, and is not negated")
    texts = [js_text(item) for item in value] if isinstance(value, list) else js_text(value)
    note = "static word vectors of this repository take the place of the embedding service, with figures of their own"
    return Mapped("similar", "embedding_similarity", texts, note=note, required=False)
