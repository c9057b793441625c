"""Checks written in a suite's own Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.evals.checks import Score, Subject, build_check

_CODE = """
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from harness.evals.checks import Score, Unscored

@dataclass
class Seen:
    words: int

def truth(subject): return "ok" in subject.output
def share(subject): return 0.25
def count(subject): return Seen(len(subject.output.split())).words
def array(subject): return np.float64(0.5)
def array_truth(subject): return np.bool_(True)
def scored(subject): return Score(0.5, "half", unit="score")
def several(subject): return [Score(1.0, metric="a"), Score(None, "why", metric="b")]
def twice(subject): return [1.0, 0.0]
def none(subject): return None
def text(subject): return "1"
def nan(subject): return float("nan")
def much(subject): return 7
def fails(subject): return {}["missing key"]
def cannot_tell(subject): raise Unscored("the order is unknown")
def score_of_text(subject): return Score("1")
def broken_text(subject): raise ValueError("bad \\ud800")
def broken_reason(subject): return Score(0.0, "bad \\ud800" + "x" * 10_000)
def nothing(subject): return []
async def later(subject): return True
number = 3
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite folder with one file of checks."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "own.py").write_text(_CODE)
    return folder


def _run(suite: Path, name: str, **settings: Any) -> list[Score]:
    check = build_check("python", {"function": f"own.py:{name}", **settings}, suite_dir=suite)
    return check.run(Subject("ok then"))


@pytest.mark.parametrize(
    ("name", "value"), [("truth", 1.0), ("share", 0.25), ("array", 0.5), ("array_truth", 1.0), ("scored", 0.5)]
)
def test_values(suite: Path, name: str, value: float) -> None:
    """Booleans, numbers, numpy's and scores become values."""
    (score,) = _run(suite, name)
    assert score.value == value
    assert type(score.value) is float


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "returned NoneType"),
        ("text", "returned str '1'"),
        ("nan", "cannot be averaged"),
        ("much", "outside"),
        ("fails", "KeyError: 'missing key'"),
        ("cannot_tell", "the order is unknown"),
        ("score_of_text", "returned str"),
        ("twice", "same metric"),
        ("nothing", "gave no score"),
    ],
)
def test_what_is_no_value_is_unscored(suite: Path, name: str, reason: str) -> None:
    """An exception or anything but a value in range gives no score, never a fail."""
    (score,) = _run(suite, name)
    assert score.value is None
    assert reason in score.reason


@pytest.mark.parametrize("name", ["broken_text", "broken_reason"])
def test_reasons_can_be_written(suite: Path, name: str) -> None:
    """A reason with half a surrogate pair, or of 10 KB, does not break the file of measurements."""
    (score,) = _run(suite, name)
    assert "bad \\ud800" in score.reason
    assert len(score.reason.encode()) < 1000


def test_several_metrics(suite: Path) -> None:
    """A function may give several metrics, some of them without a value."""
    assert _run(suite, "several") == [Score(1.0, metric="a"), Score(None, "why", metric="b")]


def test_unit_range_and_direction_are_settings(suite: Path) -> None:
    """A count needs its own unit and range, which the check then carries."""
    settings = {"function": "own.py:count", "unit": "words", "maximum": None, "better": "lower"}
    check = build_check("python", settings, suite_dir=suite)
    assert (check.unit, check.range, check.better) == ("words", (0.0, None), "lower")
    assert check.run(Subject("a b c"))[0].value == 3


def test_digest_covers_the_code_and_the_files_it_reads(suite: Path) -> None:
    """Another source, or another content of a named file, is another check."""

    def digest() -> str:
        settings = {"function": "own.py:truth", "files": ["words.txt"]}
        return build_check("python", settings, suite_dir=suite).digest

    (suite / "words.txt").write_text("a")
    first = digest()
    (suite / "words.txt").write_text("b")
    second = digest()
    (suite / "own.py").write_text(_CODE + "\n# changed\n")
    assert len({first, second, digest()}) == 3


def test_two_versions_of_a_file_live_side_by_side(suite: Path, tmp_path: Path) -> None:
    """A check keeps the code that it was built with, and another folder's file of the same name is another module."""
    before = build_check("python", {"function": "own.py:share"}, suite_dir=suite)
    (suite / "own.py").write_text("def share(subject): return 0.75\n")
    after = build_check("python", {"function": "own.py:share"}, suite_dir=suite)
    assert [check.run(Subject("a"))[0].value for check in (before, after)] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("own.py:missing", "no plain function 'missing'"),
        ("own.py:number", "no plain function 'number'"),
        ("own.py:later", "no plain function 'later'"),
        ("other.py:f", "no such file"),
        ("../outside.py:f", "only files inside the suite's folder"),
        ("own.py", "'function' = 'own.py'"),
        ("os:system", "'function' = 'os:system'"),
        ("broken.py:f", "does not import (ZeroDivisionError"),
        ("exits.py:f", "does not import (SystemExit"),
        ("syntax.py:f", "does not import (SyntaxError"),
    ],
)
def test_wrong_function(suite: Path, function: str, said: str) -> None:
    """A function that is not there, or lies outside the suite, is a usage error."""
    (suite.parent / "outside.py").write_text("def f(subject): return True\n")
    (suite / "broken.py").write_text("1 / 0\n")
    (suite / "exits.py").write_text("raise SystemExit(0)\n")
    (suite / "syntax.py").write_text("def f(:\n")
    with pytest.raises(UsageError) as caught:
        build_check("python", {"function": function}, suite_dir=suite)
    assert said in str(caught.value)
