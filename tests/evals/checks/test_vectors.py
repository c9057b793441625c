"""Every check against the tables in ``tests/evals/vectors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.evals.checks import Subject, build_check, catalogue

_FOLDER = Path(__file__).parent.parent / "vectors"
_KEYS = {"description", "check", "settings", "expect", "output", "parsed", "inputs", "steps", "value", "unscored"}
# These need a file or a figure and have tests of their own.
_ELSEWHERE = {"python", "embedding_similarity", "latency", "tokens"}


_ROWS: list[dict[str, Any]] = [
    row for file in sorted(_FOLDER.glob("*.yaml")) for row in yaml.safe_load(file.read_text(encoding="utf-8"))
]


def _score(row: dict[str, Any], folder: Path) -> Any:
    check = build_check(row["check"], row.get("settings", {}), suite_dir=folder)
    subject = Subject(
        row["output"], row.get("parsed"), row.get("expect"), row.get("inputs", {}), steps=row.get("steps", {})
    )
    (score,) = check.run(subject)
    return score


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: f"{row['check']}: {row['description']}")
def test_vector(row: dict[str, Any], tmp_path: Path) -> None:
    """The check gives the value of the table, or no score for the table's reason."""
    score = _score(row, tmp_path)
    if "unscored" in row:
        assert score.value is None
        assert row["unscored"] in score.reason
    else:
        assert score.value == pytest.approx(row["value"], abs=1e-12)
        told = catalogue()[row["check"]]
        assert score.reason or score.value != (0 if told.better == "higher" else 1) or told.unit != "share"


@pytest.mark.parametrize("name", sorted(catalogue().keys() - _ELSEWHERE))
def test_every_check_has_vectors_that_pass_and_fail(name: str) -> None:
    """The tables hold for each check a value above 0, and one below 1."""
    values = [row["value"] for row in _ROWS if row["check"] == name and "value" in row]
    assert any(value > 0 for value in values)
    assert any(value < 1 for value in values)


def test_vectors_are_well_formed() -> None:
    """Each row has known keys and says either a value or why there is none."""
    for row in _ROWS:
        assert row.keys() <= _KEYS, row
        assert ("value" in row) != ("unscored" in row), row
