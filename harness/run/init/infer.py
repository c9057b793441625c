"""Which checks fit what examples expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.run.init.examples import Example

_MOST_LABELS = 20
_LABEL_WORDS = 5
_SHORT_WORDS = 8
_MOST_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Inferred:
    """The checks, which of them decides, the labels where the task is to choose one, and why it was taken for that.

    ``graded`` says that the deciding check gives a degree and not right or wrong.
    """

    checks: tuple[dict[str, Any], ...]
    deciding: str
    why: str
    labels: tuple[str, ...] = ()
    graded: bool = False


def infer(examples: Sequence[Example]) -> Inferred:
    """Checks by the kind of what most examples expect."""
    answered: dict[str, Any] = {"id": "answered", "check": "length", "description": "the answer is not empty"}
    values = [each.expected for each in examples if each.expected is not None]
    if not values:
        why = "the examples expect nothing, so only empty answers and refusals are found"
        return Inferred((answered, {"id": "refused", "check": "refusal"}), "answered", why)
    inferred = _labels(values) or _numbers(values) or _objects(values) or _lists(values) or _texts(values)
    return Inferred(
        (*inferred.checks, answered), inferred.deciding, inferred.why, inferred.labels, graded=inferred.graded
    )


def expectation(value: Any) -> Any:
    """What a case expects, of the kind that the checks take."""
    return str(value).lower() if isinstance(value, bool) else value


def _labels(values: Sequence[Any]) -> Inferred | None:
    if not all(isinstance(value, str | bool) for value in values):
        return None
    labels = sorted({str(expectation(value)).strip() for value in values})
    short = all(label and len(label.split()) <= _LABEL_WORDS for label in labels)
    if not short or not 2 <= len(labels) <= _MOST_LABELS or len(labels) * 3 > len(values):
        return None
    check = {"id": "right", "check": "label_match", "expect": "answer", "with": {"labels": labels}}
    return Inferred((check,), "right", f"every expectation is one of {len(labels)} labels", tuple(labels))


def _numbers(values: Sequence[Any]) -> Inferred | None:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    check = {"id": "right", "check": "numeric", "expect": "answer"}
    return Inferred((check,), "right", "every expectation is a number")


def _objects(values: Sequence[Any]) -> Inferred | None:
    if not all(isinstance(value, dict) and value for value in values):
        return None
    shared = sorted(set.intersection(*(set(value) for value in values)))
    checks: list[dict[str, Any]] = [
        {"id": "right", "check": "equals", "expect": "answer"},
        {"id": "is-json", "check": "json_valid"},
    ]
    if all(name.isidentifier() for name in shared) and 1 < len(shared) <= _MOST_FIELDS:
        checks += [
            {
                "id": f"field-{name.lower()}",
                "check": "field_match",
                "expect": f"field_{name}",
                "with": {"path": f"$.{name}"},
            }
            for name in shared
        ]
    return Inferred(tuple(checks), "right", "every expectation is a JSON object")


def _lists(values: Sequence[Any]) -> Inferred | None:
    if not all(isinstance(value, list) and value and all(isinstance(x, str) and x for x in value) for value in values):
        return None
    check = {"id": "right", "check": "contains_all", "expect": "answer", "with": {"ignore_case": True}}
    return Inferred((check,), "right", "every expectation is a list of texts that the answer must hold")


def _texts(values: Sequence[Any]) -> Inferred:
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if texts and max(len(text.split()) for text in texts) <= _SHORT_WORDS:
        check = {"id": "right", "check": "contains", "expect": "answer", "with": {"ignore_case": True}}
        return Inferred((check,), "right", "every expectation is a short text, which the answer must hold")
    check = {"id": "near", "check": "rouge", "expect": "answer"}
    why = "expectations are free texts: how many words the answer shares with them says little; add checks of your own"
    return Inferred((check,), "near", why, graded=True)
