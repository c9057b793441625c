"""Outputs that nobody would write, under every check."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harness.evals.checks import Score, Subject, build_check, catalogue
from harness.evals.checks.build import guarded
from harness.evals.checks.registry import REGISTER

_SETTINGS: dict[str, dict[str, Any]] = {
    "field_match": {"path": "$.a"},
    "json_schema": {"schema": {"type": "array", "items": {"$ref": "#"}}},
    "no_new_entities": {"source": "inputs.article"},
}
_EXPECT: dict[str, Any] = {
    "one_of": ["a"],
    "contains_all": ["a"],
    "contains_any": ["a"],
    "numeric": 1,
    "regex": "(a|b)+c",
}
_ELSEWHERE = {"python", "embedding_similarity", "latency", "tokens"}
_HOSTILE = {
    "long": "The quick Brown fox, 12 times. " * 3300,
    "one long word": "a" * 100_000,
    "digits": "1" * 100_000,
    "grouped digits": "1," * 50_000,
    "dots": "a." * 50_000,
    "blanks": " " * 100_000,
    "slashes": "http://" + "/" * 100_000,
    "quotes": "\"'" * 50_000,
    "nulls": "\x00" * 1000 + "a\x00b",
    "a lone surrogate": "a \ud800 B \udfff 3",
    "deep lists": "[" * 100_000,
    "deep whole lists": "[" * 5000 + "]" * 5000,
    "deep objects": '{"a":' * 50_000,
    "fences": "```\n" * 30_000,
    "controls": "\u202e\u200b\ufeff" * 1000,
}
_NAMES = sorted(catalogue().keys() - _ELSEWHERE)


def _check(name: str, folder: Path) -> Any:
    return build_check(name, _SETTINGS.get(name, {}), suite_dir=folder)


def _sound(scores: list[Score], low: float | None, high: float | None) -> None:
    assert scores
    for score in scores:
        if score.value is None:
            assert score.reason
        else:
            assert math.isfinite(score.value)
            assert low is None or score.value >= low
            assert high is None or score.value <= high
        assert len(score.reason) < 2000
        score.reason.encode()


@pytest.mark.parametrize("kind", _HOSTILE)
@pytest.mark.parametrize("name", _NAMES)
def test_hostile_output(name: str, kind: str, tmp_path: Path) -> None:
    """A value in range or a reason of bearable length that can be written to a file; no exception."""
    check = _check(name, tmp_path)
    subject = Subject(_HOSTILE[kind], expect=_EXPECT.get(name, "refund"), inputs={"article": "Ann won 3 cups."})
    _sound(check.run(subject), *check.range)


@pytest.mark.parametrize("output", [None, 3, True, b"refund", ["refund"], {"a": "refund"}])
@pytest.mark.parametrize("name", _NAMES)
def test_output_that_is_no_text_is_unscored(name: str, output: Any, tmp_path: Path) -> None:
    """Only text is scored as text."""
    (score,) = _check(name, tmp_path).run(Subject(output, expect=_EXPECT.get(name, "refund"), inputs={"article": "A"}))
    assert score.value is None
    assert "not text" in score.reason


@pytest.mark.parametrize("output", ["", " \n "])
@pytest.mark.parametrize("name", _NAMES)
def test_empty_output_never_passes(name: str, output: str, tmp_path: Path) -> None:
    """An empty output gets the worst value or none, and a reason wherever a share is measured."""
    (score,) = _check(name, tmp_path).run(Subject(output, expect=_EXPECT.get(name, "refund"), inputs={"article": "A"}))
    if name == "edit_distance":
        assert score.value is not None
        assert score.value >= len("refund")
    else:
        assert not score.value
        assert score.reason or catalogue()[name].unit != "share"


@pytest.mark.parametrize("expect", [3, True, 1.5, float("nan"), {"a": 1}, [], [1], [None], "", [""], b"a"])
@pytest.mark.parametrize(
    "name", [name for name in _NAMES if catalogue()[name].expects and name not in ("equals", "field_match")]
)
def test_expectation_of_a_wrong_type_is_unscored(name: str, expect: Any, tmp_path: Path) -> None:
    """An expectation that the check cannot use is no failure of the app."""
    if name == "numeric" and expect in (3, 1.5):
        pytest.skip("a number is what it wants")
    (score,) = _check(name, tmp_path).run(Subject("refund 3", expect=expect))
    assert score.value is None
    assert "expectation" in score.reason


def test_deep_expectation_is_unscored(tmp_path: Path) -> None:
    """A value nested beyond Python's stack gives no score instead of ending the run."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (score,) = _check("equals", tmp_path).run(Subject("x", parsed=deep, expect=deep))
    assert score.value is None
    assert "RecursionError" in score.reason


@pytest.mark.parametrize(
    ("said", "value", "reason"),
    [
        (Score(float("nan")), None, "cannot be averaged"),
        (Score(float("inf")), None, "cannot be averaged"),
        (Score(1.2), None, "outside"),
        (Score(-0.1), None, "outside"),
        (Score(1 + 1e-12), 1.0, ""),
        (Score(None), None, "no reason"),
        ([], None, "gave no score"),
        ("yes", None, "raised"),
    ],
)
def test_guard(said: Any, value: float | None, reason: str) -> None:
    """Whatever a check says, only finite values inside its range get through, rounding forgiven."""
    run = guarded(lambda _: said, REGISTER["latency"], {}, (0.0, 1.0))
    (score,) = run(Subject("a"))
    assert score.value == value
    assert reason in score.reason
