"""Tests of promptfoo that stand in a table: the columns that begin with ``__``, and the language of their cells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from harness.evals.promptfoo import comma_separated
from harness.run.importing.config_file import Unreadable, is_code

# Where a cell states no threshold promptfoo takes these, which are not the ones of the same assertion in YAML.
_OWN_THRESHOLD = dict.fromkeys(
    (
        "answer-relevance", "classifier", "context-faithfulness", "context-recall", "context-relevance", "cost",
        "latency", "levenshtein", "perplexity", "perplexity-score", "rouge-n", "starts-with",
    ),
    0.75,
) | {"similar": 0.8}  # fmt: skip
_LISTS = frozenset({"contains-all", "contains-any", "icontains-all", "icontains-any"})
_TYPES = (
    "answer-relevance", "bleu", "classifier", "contains", "contains-all", "contains-any", "contains-html",
    "contains-json", "contains-sql", "contains-xml", "context-faithfulness", "context-recall", "context-relevance",
    "conversation-relevance", "cost", "equals", "factuality", "finish-reason", "g-eval", "gleu", "guardrails",
    "icontains", "icontains-all", "icontains-any", "is-html", "is-json", "is-refusal", "is-sql",
    "is-valid-function-call", "is-valid-openai-function-call", "is-valid-openai-tools-call", "is-xml", "latency",
    "levenshtein", "llm-rubric", "meteor", "model-graded-closedqa", "model-graded-factuality", "moderation",
    "perplexity", "perplexity-score", "pi", "regex", "rouge-n", "ruby", "search-rubric", "similar", "starts-with",
    "tool-call-f1", "webhook", "word-count",
)  # fmt: skip
_CELL = re.compile(
    r"(not-)?(" + "|".join(sorted(map(re.escape, _TYPES), key=len, reverse=True)) + r")"
    r"(?:\((\d+(?:\.\d+)?)\))?(?::(.*))?",
    re.S,
)


def number(text: str) -> float | None:
    """A finite number written in a cell, None when the cell holds none."""
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def assertion_of(cell: str) -> dict[str, Any]:
    """The assertion that a cell of ``__expected`` states; a cell that states none is what the output must equal."""
    for prefix in ("javascript:", "fn:", "eval:"):
        if cell.startswith(prefix):
            return {"type": "javascript", "value": cell[len(prefix) :].strip()}
    for prefix in ("grade:", "llm-rubric:"):
        if cell.startswith(prefix):
            return {"type": "llm-rubric", "value": cell[len(prefix) :]}
    if cell.startswith("python:"):
        return {"type": "python", "value": cell[7:].strip()}
    if cell.startswith("file://") and is_code(cell):
        return {"type": "python" if ".py" in cell else "javascript", "value": cell}
    found = _CELL.fullmatch(cell)
    if found is None:
        return {"type": "equals", "value": cell}
    negation, kind, threshold, value = found.groups()
    made: dict[str, Any] = {"type": f"{negation or ''}{kind}"}
    if kind in _LISTS:
        try:
            made["value"] = comma_separated(value or "")
        except ValueError as error:
            raise Unreadable(f"cell {cell!r}: {error}") from error
        return made
    if value is not None:
        made["value"] = value if kind in {"is-json", "contains-json"} else value.strip()
    if kind in _OWN_THRESHOLD:
        made["threshold"] = float(threshold) if threshold else _OWN_THRESHOLD[kind]
    return made


def test_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The test that a row states, as it would stand in YAML; Unreadable for columns that promptfoo refuses too."""
    test: dict[str, Any] = {"vars": {}, "assert": [], "options": {}, "metadata": {}}
    metric, thresholds = "", {}
    for name, cell in row.items():
        if not name.startswith("__"):
            test["vars"][name] = cell
        elif name.startswith("__expected"):
            test["assert"] += [assertion_of(cell.strip())] if cell.strip() else []
        elif name in {"__prefix", "__suffix"}:
            test["options"][name[2:]] = cell
        elif name == "__metric":
            metric = cell.strip()
        elif name == "__threshold":
            test["threshold"] = number(cell)
        elif name in {"__description", "__providerOutput"}:
            test |= {name[2:]: cell} if cell else {}
        elif name.startswith("__metadata:"):
            key = name[11:].removesuffix("[]")
            test["metadata"] |= {key: cell} if cell.strip() else {}
        elif name.startswith("__config:"):
            thresholds[_place(name)] = number(cell)
        else:
            raise Unreadable(f"column {name!r} is none that promptfoo knows")
    for place, assertion in enumerate(test["assert"]):
        assertion |= {"metric": metric} if metric else {}
        if thresholds.get(place) is not None:
            assertion["threshold"] = thresholds[place]
    return {key: value for key, value in test.items() if value not in ({}, None)}


def _place(column: str) -> int:
    found = re.fullmatch(r"__config:__expected(\d*):threshold", column)
    if found is None or found.group(1) == "0":
        raise Unreadable(f"column {column!r} must read __config:__expected<N>:threshold")
    return int(found.group(1) or 1) - 1
