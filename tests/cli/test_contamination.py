"""``signoff data contamination``: pairs by name, exit code 1; waivers; marts that are out of date are built first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.run.mart import TICKETS, mart_files
from tests.run.project import ROOT, Project, make_project

LEAK = "Hello, message 7 about money"
WAIVERS = "suites/desk/waivers.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository whose mart shares nothing with the suite."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    return make_project(tmp_path, files=mart_files())


def asked(project: Project, *args: str) -> int:
    """The command's exit code."""
    return main(["data", "contamination", "--root", str(project.root), *args])


def told(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    """The command's JSON."""
    capsys.readouterr()
    asked(project, "--json", *args)
    return json.loads(capsys.readouterr().out)


def test_a_clean_mart(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, what was searched, and what cannot be seen."""
    assert asked(project) == 0
    out = capsys.readouterr().out
    assert f"desk: 60 texts of cases held against tickets ({len(TICKETS)})" in out
    assert "no case was seen" in out
    assert "paraphrase" in out


def test_a_leak_in_a_mart_that_was_built_before(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The old build is not believed: the mart is built anew, and the pair is named with exit code 1."""
    assert asked(project) == 0
    project.write(mart_files([LEAK]))
    assert asked(project) == 1
    assert "case case-007 stands in T-08 of mart tickets (" in capsys.readouterr().out
    found = told(project, capsys)
    (pair,) = found["apps"]["desk"]["pairs"]
    assert (found["exit_code"], pair["case"], pair["row"], pair["containment"]) == (1, "case-007", "T-08", 1.0)
    assert (pair["shared"], pair["column"]) == ("message 7 about money", "text")


def test_waivers(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A waived pair is told with who and why, and the exit code is 0; one that expired counts again."""
    project.write(mart_files([LEAK]))
    line = "  - {{case: case-007, mart: tickets, row: T-08, reason: a greeting, by: Dana Reyes, expires: {0}}}\n"
    idle = "  - {case: case-001, mart: tickets, row: T-01, reason: gone, by: Dana Reyes, expires: 2999-01-01}\n"
    project.write({WAIVERS: "waivers:\n" + line.format("2999-12-31") + idle})
    assert asked(project) == 0
    out = capsys.readouterr().out
    assert "waived until 2999-12-31 by Dana Reyes (a greeting): case case-007 stands in T-08" in out
    assert "the waiver of case case-001 and T-01 of tickets matches nothing; remove it" in out
    project.write({WAIVERS: "waivers:\n" + line.format("2020-01-01")})
    assert asked(project) == 1
    assert "the waiver of case case-007 by Dana Reyes expired on 2020-01-01" in capsys.readouterr().out


def test_choices(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """One app, one mart; unknown names are usage."""
    project.write(mart_files([LEAK]))
    assert list(told(project, capsys, "--app", "desk", "--mart", "tickets")["apps"]) == ["desk"]
    for args, said in ((["--mart", "orders"], "no mart 'orders'; there are: tickets"), (["--app", "x"], "no app 'x'")):
        assert asked(project, *args) == 64
        assert said in capsys.readouterr().err


def test_a_torn_cache_is_compared_again(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a crash or another version left in the cache is no answer."""
    project.write(mart_files([LEAK]))
    assert asked(project) == 1
    kept = list((tmp_path / "cache" / "contamination").glob("*.json"))
    assert kept
    for content in (b"", b'{"pairs": [{"case": 1}], "texts": 3}', b"[]"):
        for path in kept:
            path.write_bytes(content)
        assert len(told(project, capsys)["apps"]["desk"]["pairs"]) == 1


def test_two_at_once_say_the_same(project: Project) -> None:
    """Both build, compare and keep the same things at the same time, and neither spoils what the other reads."""
    project.write(mart_files([LEAK]))
    command = [sys.executable, "-m", "harness", "data", "contamination", "--root", str(project.root), "--json"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert said[0] == said[1]
    assert json.loads(said[0])["apps"]["desk"]["pairs"][0]["case"] == "case-007"
