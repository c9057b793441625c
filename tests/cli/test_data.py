"""``signoff data build``."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from harness.cli import main
from harness.errors import EXIT_FAIL, EXIT_PASS, EXIT_USAGE
from tests.data.marts.small import MART, notes, write


def build(root: Path, *more: str) -> int:
    """The command's exit code."""
    return main(["data", "build", "--root", str(root), *more])


def test_it_tells_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a step, then what was kept and left out; the second time every step is unchanged since the first."""
    write(tmp_path, [*notes(40), {"id": 1}], MART.replace("key: id", "max_seconds: 0.001\nkey: id"))
    assert build(tmp_path) == EXIT_PASS
    out = capsys.readouterr().out
    assert out.count("built in") == 6 and "unchanged" not in out
    assert "  left out: 1 raw_notes: author is absent\n" in out
    assert "max_seconds is 0.001" in out
    assert build(tmp_path, "notes") == EXIT_PASS
    out = capsys.readouterr().out
    assert out.count("unchanged since") == 6 and "built in" not in out


def test_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with every mart that was built."""
    promise = "{loaded_at_field: stamp, warn_after: {count: 1, period: hour}, error_after: {count: 3000, period: day}}"
    late = MART.replace("    licence: CC0-1.0\nkey", f"    licence: CC0-1.0\n    freshness: {promise}\nkey")
    write(tmp_path, notes(40), late)
    assert build(tmp_path, "--json") == EXIT_PASS
    (mart,) = orjson.loads(capsys.readouterr().out)["marts"]
    assert (mart["name"], sum(mart["counts"].values()), len(mart["steps"])) == ("notes", 40, 6)
    assert mart["seconds"]["status"] == "pass"
    age = mart["freshness"]["raw_notes"]
    assert (age["status"], age["warn_after"]) == ("warn", 3600.0) and age["value"] > 3600


def test_a_failed_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the rows."""
    write(tmp_path, notes(40), sql__audits__never_sql="SELECT id FROM final WHERE id < 2 ORDER BY id")
    assert build(tmp_path) == EXIT_FAIL
    assert "{'id': 0}\n  {'id': 1}" in capsys.readouterr().err


def test_what_cannot_be_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No mart at all, and one whose file is wrong, are the user's mistakes."""
    assert build(tmp_path) == EXIT_USAGE
    assert "no data/*/mart.yaml" in capsys.readouterr().err
    write(tmp_path, notes(4), MART.replace("train: 0.7", "train: 0.9") + "colour: red\n")
    assert build(tmp_path) == EXIT_USAGE
    err = capsys.readouterr().err
    assert "data/notes/mart.yaml:17: unknown key 'colour'" in err
