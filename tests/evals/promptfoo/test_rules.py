"""promptfoo's rules without promptfoo: what decides, and what cannot be decided."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harness.evals.checks import Subject, build_check
from harness.evals.promptfoo import comma_separated, js_text, python_pattern
from harness.evals.promptfoo.overlaps import bleu, gleu, rouge_1, treebank
from harness.evals.promptfoo.rules import json_objects


def scored(expect: Any, output: str, **more: Any) -> tuple[float | None, str]:
    """Value and reason of the check ``promptfoo``."""
    (score,) = build_check("promptfoo", {}, suite_dir=Path()).run(Subject(output, expect=expect, **more))
    return score.value, score.reason


@pytest.mark.parametrize(
    ("expect", "output", "value"),
    [
        ({"type": "equals", "value": 1.0}, "1", 1),
        ({"type": "equals", "value": True}, "True", 0),
        ({"type": "not-equals", "value": {"a": 1}}, "no JSON", 1),
        ({"type": "contains-any", "value": 'red, "blue, or navy"'}, "it is blue, or navy", 1),
        ({"type": "icontains", "value": "STRASSE"}, "Straße", 0),
        ({"type": "not-contains", "value": "x"}, "", 1),
        ({"type": "regex", "value": "b$"}, "a\nb", 1),
        ({"type": "regex", "value": "b$"}, "b\n", 0),
        ({"type": "regex", "value": r"^\d$"}, "\u0663", 0),
        ({"type": "regex", "value": "a.b"}, "a\rb", 0),
        ({"type": "levenshtein", "value": "kitten"}, "sitting", 1),
        ({"type": "levenshtein", "value": "kitten", "threshold": 2}, "sitting", 0),
        ({"type": "contains-json", "value": {"type": "object", "required": ["b"]}}, '{"a": 1} then {"b": 2}', 1),
        ({"type": "word-count", "value": {"min": 2}}, "one", 0),
        ({"type": "latency", "threshold": 10}, "x", 1),
        ({"type": "cost", "threshold": 0.005, "config": {"input": 0.001, "output": 0.002}}, "x", 0),
        ({"type": "contains", "value": "a", "weight": 0}, "b", 1),
        ({"assert": [{"type": "contains", "value": "a"}, {"type": "contains", "value": "z"}]}, "a", 0),
        (
            {"assert": [{"type": "contains", "value": "a"}, {"type": "contains", "value": "z"}], "threshold": 0.5},
            "a",
            1,
        ),
        ({"type": "assert-set", "assert": [{"type": "contains", "value": "z"}], "threshold": 0.1}, "a", 0),
    ],
)
def test_verdicts(expect: Any, output: str, value: float) -> None:
    """Each assertion decides as promptfoo documents it."""
    assert scored(expect, output, latency_ms=9.0, tokens_in=2, tokens_out=2)[0] == value


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("contains", "must be an assertion or a test"),
        ({"type": "llm-rubric", "value": "kind"}, "no rule for an assertion of type 'llm-rubric'"),
        ({"type": "contains"}, "contains needs a text, not None"),
        ({"type": "contains-any", "value": '"open'}, "is never closed"),
        ({"type": "regex", "value": "("}, "not a regular expression"),
        ({"type": "regex", "value": "^(?:a|aa)+$"}, "needed more than 250 ms"),
        ({"type": "is-json", "value": {"type": "strange"}}, "setting 'schema'"),
        ({"type": "latency", "threshold": 5}, "a recorded latency"),
        ({"type": "cost", "threshold": 5}, "token counts"),
        ({"assert": [{"type": "contains", "value": "a"}, {"type": "javascript", "value": "1"}]}, "no rule"),
    ],
)
def test_what_cannot_be_decided_is_unscored(expect: Any, said: str) -> None:
    """An assertion that is broken or needs something that is not there is neither right nor wrong."""
    value, reason = scored(
        expect, "a" * 40 + "!" if expect == {"type": "regex", "value": "^(?:a|aa)+$"} else '{"a": 1}'
    )
    assert value is None and said in reason


def test_overlaps_of_known_texts() -> None:
    """BLEU, GLEU and ROUGE-1 of texts whose counts are done by hand."""
    # Four of five words, two of four pairs, none of three triples, none of two quadruples.
    expected = math.exp((math.log(4 / 5) + math.log(2 / 4) + math.log(1e-7) + math.log(1e-7)) / 4)
    assert bleu("a b x d e", ["a b c d e"]) == pytest.approx(expected)
    assert bleu("a b", ["a b c d"]) == pytest.approx(math.exp(1 - 2))
    assert gleu("a b x d e", ["a b c d e"]) == pytest.approx(6 / 14)
    assert rouge_1("the cat sat", "The dog sat") == pytest.approx(2 / 3)
    assert bleu("", ["a"]) == gleu("...", ["a"]) == rouge_1("", "a") == 0
    assert treebank('he said "no," didn\'t he?') == ["he", "said", "``", "no", ",", "''", "did", "n't", "he", "?"]


def test_values_read_as_javascript_reads_them() -> None:
    """Numbers, truth values and nothing become the texts that JavaScript makes of them."""
    assert [js_text(value) for value in (True, None, 3.0, 0.1, 12, "x")] == ["true", "null", "3", "0.1", "12", "x"]
    assert comma_separated(' a ,, "b, ""c""" ,d') == ["a", 'b, "c"', "d"]
    assert python_pattern(r"[\d\]a]$") == r"[0-9\]a]\Z"
    for pattern in ("(?i)a", "(?P<x>a)", "a(?#b)", "["):
        with pytest.raises(ValueError, match=r"JavaScript|regular expression"):
            python_pattern(pattern)


def test_json_in_a_long_text_is_found_in_time() -> None:
    """Braces that open and never close cost no more than their number."""
    assert list(json_objects("{" * 3000 + '{"a": 1}')) == [{"a": 1}]
