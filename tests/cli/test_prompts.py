"""``signoff prompts``: what is printed, and what reaches a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from harness.cli import main
from tests.run.project import Project, Stub
from tests.run.ruled import answered, cases, prompt, ruled_project
from tests.run.test_compare import PLAIN


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The model of the ruled app."""
    with answered(monkeypatch) as stub:
        yield stub


@pytest.fixture
def project(tmp_path: Path, answering: Stub) -> Project:
    """An app on version 1.0.0 of three."""
    return ruled_project(tmp_path, answering.url, cases(60), **{"suites/desk/app.yaml": PLAIN})


def prompts(project: Project, *args: str) -> int:
    """The exit code of ``signoff prompts``."""
    return main(["prompts", *args, "--root", str(project.root)])


def test_log_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Each version stands with commit, changes, users and the gates of its newest run."""
    project.branch()
    project.run("gate")
    capsys.readouterr()
    assert prompts(project, "log", "desk/sort") == 0
    said = capsys.readouterr().out
    newest, middle, oldest = said.index("1.2.0  "), said.index("1.1.0  "), said.index("1.0.0  ")
    assert newest < middle < oldest
    assert "more careful" in said[middle:oldest]
    assert "no run in reports/ has measured it" in said[middle:oldest]
    assert "used by: desk, step sort" in said[oldest:]
    assert "level: 0.9 [" in said[oldest:] and "of at least 0.8, 60 cases" in said[oldest:]
    assert project.git("rev-parse", "--short=7", "HEAD") in said


def test_log_as_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` prints one object with everything that the text tells."""
    project.run("gate")
    capsys.readouterr()
    assert prompts(project, "log", "desk/sort", "--json") == 0
    told = orjson.loads(capsys.readouterr().out)
    assert (told["prompt"], told["shallow"]) == ("desk/sort", False)
    oldest = told["versions"][-1]
    assert oldest["uses"] == [{"app": "desk", "step": "sort", "branch": ""}]
    assert {gate["id"] for gate in oldest["measured"][0]["gates"]} == {"level", "no-worse"}


def test_log_of_an_unknown_prompt(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt that is not there ends with 64 and names what there is."""
    assert prompts(project, "log", "desk/reply") == 64
    assert "one of: desk/sort" in capsys.readouterr().err


def test_log_needs_valid_files(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid version is named with file and line."""
    project.edit("prompts/desk/sort/1.1.0.prompty", "{{ message }}", "{{ mesage }}")
    assert prompts(project, "log", "desk/sort") == 64
    assert "1.1.0.prompty:11: variable 'mesage'" in capsys.readouterr().err


def test_diff_shows_front_matter_and_body_apart(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Both parts are counted for themselves, and nothing is coloured where nobody looks."""
    assert prompts(project, "diff", "desk/sort", "1.0.0", "1.1.0") == 0
    said = capsys.readouterr().out
    front, body = said.split("body: ")
    assert front.startswith("front matter: 2 added, 1 removed\n--- 1.0.0 front matter\n+++ 1.1.0 front matter\n")
    assert "+  changes: more careful" in front
    assert body.startswith("1 added, 1 removed\n--- 1.0.0 body\n+++ 1.1.0 body\n")
    assert "-Sort this: {{ message }}\n+Sort carefully: {{ message }}\n" in body
    assert "\x1b" not in said


def test_diff_as_json(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` gives counts and lines of both parts."""
    assert prompts(project, "diff", "desk/sort", "1.0.0", "1.2.0", "--json") == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["versions"] == ["1.0.0", "1.2.0"]
    assert (told["body"]["added"], told["body"]["removed"]) == (1, 1)
    assert "+  tier: {kind: string}" in told["front_matter"]["diff"]


def test_same_part_is_called_the_same(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A part without a difference is said in one line."""
    project.write({"prompts/desk/sort/1.3.0.prompty": prompt("1.3.0", "Sort this: {{ message }}", "message")})
    assert prompts(project, "diff", "desk/sort", "1.0.0", "1.3.0") == 0
    assert capsys.readouterr().out.endswith("body: the same\n")


@pytest.mark.parametrize(("no_colour", "painted"), [("", True), ("1", False)])
def test_terminal_gets_colours_and_no_commands(
    project: Project, no_colour: str, painted: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal lines are coloured unless NO_COLOR is set; what a prompt would send to it is shown by name."""
    text = prompt("1.4.0", "Sort this: {{ message }}\n\x1b[2Jgone \u202eback", "message")
    project.write({"prompts/desk/sort/1.4.0.prompty": text})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_colour)
    assert prompts(project, "diff", "desk/sort", "1.0.0", "1.4.0") == 0
    said = capsys.readouterr().out
    assert ("\x1b[32m+⟨ESC⟩[2Jgone ⟨RLO⟩back\x1b[0m" in said) is painted
    assert "\x1b[2J" not in said and "\u202e" not in said


def test_compare_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each metric, the worst cases with both outputs, and that nothing was decided."""
    assert prompts(project, "compare", "desk/sort", "1.1.0", "1.0.0") == 0
    said = capsys.readouterr().out
    assert "desk/sort 1.1.0 -> 1.0.0 in app desk, step sort" in said
    row = next(line for line in said.splitlines() if line.startswith("right "))
    assert "100%" in row and "90.0%" in row and "-10.0 pts" in row.replace("−", "-")
    assert row.split()[-2:] == ["60", "6"]
    assert "right, worst of 6 changed cases (higher is better):\n  case-001: 100% -> 0%\n    1.1.0: refund" in said
    assert "this decides nothing" in said
