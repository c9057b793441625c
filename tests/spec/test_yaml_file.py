"""YAML as a closed world."""

from __future__ import annotations

import pytest

from harness.spec.suites import Suite
from harness.spec.yaml_file import parse_yaml, validate


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a'"),
        ("a: &x 1\nb: *x\n", 1, "anchors"),
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("1: a\n", 1, "a key must be a string"),
        ("a:\n  - b: 1\n    b: 2\n", 3, "duplicate key 'b'"),
    ],
)
def test_problems_name_their_line(text: str, line: int, part: str) -> None:
    """A file that YAML would silently accept or garble is refused with the line to mend."""
    _, problems = parse_yaml(text, "f.yaml")
    assert (problems[0].line, part in problems[0].message) == (line, True)


def test_words_stay_words() -> None:
    """`no` and a date stay text; only true and false are booleans."""
    document, problems = parse_yaml("a: no\nb: 2026-01-01\nc: true\nd: 1_0\ne: 1.5\nf: null\n", "f.yaml")
    assert not problems
    assert document is not None
    assert document.data == {"a": "no", "b": "2026-01-01", "c": True, "d": 10, "e": 1.5, "f": None}


def test_validation_reports_everything_with_lines() -> None:
    """Unknown keys, missing fields and wrong values of one file come back together."""
    document, _ = parse_yaml("checks:\n  - id: A b\n    chek: x\nrepeats: 0\n", "suite.yaml")
    assert document is not None
    _, problems = validate(document, Suite)
    assert {(p.line, p.message.split(",")[0].split(";")[0]) for p in problems} >= {
        (3, "unknown key 'checks.0.chek'"),
        (2, "missing field 'checks.0.check'"),
    }
    assert any(p.line == 4 and "found 0" in p.message for p in problems)
