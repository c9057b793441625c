"""The command line: help, JSON, exit codes, and what a command must not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from harness.cli import main
from harness.cli.main import parser
from tests.run.project import ROOT, Project, make_project

(_SUB,) = (action for action in parser()._actions if action.choices)
COMMANDS = tuple(sorted(_SUB.choices or ()))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The sample project on a branch."""
    made = make_project(tmp_path, count=20)
    made.branch()
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each command exits 0 and ends with a line that can be typed."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    example = capsys.readouterr().out.strip().splitlines()[-1].strip()
    assert example.startswith(f"signoff {command}")


@pytest.mark.parametrize(
    "argv",
    [
        [], ["fly"], ["gate", "--bogus"], ["gate", "--profile", "weekly"], ["eval"], ["report"],
        ["approve", "latest"], ["serve", "--port", "x"],
    ],
)  # fmt: skip
def test_bad_command_line_exits_64(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that cannot be understood exits 64: 2 is a verdict here."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 64
    assert "usage: signoff" in capsys.readouterr().err


def test_json_of_check(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``check --json`` prints one object: digests, case counts, warnings, exit code."""
    assert project.run("check", "--json") == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["cases"] == {"desk": 20}
    assert len(told["apps"]["desk"]) == 64
    assert (len(told["warnings"]), told["exit_code"]) == (2, 0)


def test_json_of_gate_is_the_verdict(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``gate --json`` prints nothing but verdict.json and the run folder."""
    assert project.run("gate", "--json") == 0
    said = capsys.readouterr()
    told = orjson.loads(said.out)
    assert told == {**project.file("verdict.json"), "run": str(project.runs[-1])}
    assert said.err == ""


def test_json_of_eval_and_report(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``eval --json`` prints the metrics, ``report --json`` the files that it wrote."""
    assert project.run("eval", "--app", "desk", "--json") == 0
    (metric,) = orjson.loads(capsys.readouterr().out)["metrics"]
    assert metric == {
        "app": "desk",
        "metric": "right",
        "variant": "candidate",
        "mean": 1.0,
        "n": 20,
        "unscored": 0,
        "errors": 0,
    }
    project.run("gate")
    capsys.readouterr()
    assert project.run("report", "latest", "--json") == 0
    files = orjson.loads(capsys.readouterr().out)["files"]
    names = ["comment.json", "findings.sarif", "junit.xml", "report.html", "summary.md"]
    assert sorted(Path(file).name for file in files) == names


def test_json_of_approve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``approve --json`` prints the approval as it was recorded."""
    project = make_project(tmp_path, count=4)
    project.run("gate")
    capsys.readouterr()
    more = ("--as", "Dana", "--note", "seen", "--expires", "2999-12-31", "--json")
    assert project.run("approve", "latest", *more) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told == orjson.loads((project.root / "suites/approvals.jsonl").read_bytes())
    assert told["gates"] == ["desk/level"]


@pytest.mark.parametrize("command", [("check",), ("gate",), ("eval", "--app", "desk"), ("serve",)])
def test_json_of_an_error(project: Project, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an error is an object too, with every problem by file and line."""
    project.write({"suites/desk/app.yaml": "name: desk\ncolour: 1\n"})
    assert project.run(*command, "--json") == 64
    told = orjson.loads(capsys.readouterr().out)
    assert told["exit_code"] == 64
    assert {
        "path": "suites/desk/app.yaml",
        "line": 2,
        "message": "unknown key 'colour'; remove it or correct its spelling",
    } in (told["problems"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("report", "latest"), "no run 'latest'"),
        (("report", "20260101T000000"), "no run '20260101T000000'"),
        (("approve", "latest", "--as", "D", "--note", "n", "--expires", "soon"), "--expires is 'soon'"),
        (("approve", "latest", "--as", "D", "--note", "n", "--expires", "2999-01-01"), "no run 'latest'"),
        (("eval", "--app", "desk", "--variant", "baseline"), "has no baseline that differs"),
    ],
)
def test_mistake_is_named(
    project: Project, argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that leads nowhere exits 64 and says what was given."""
    assert project.run(*argv) == 64
    assert said in capsys.readouterr().err


def test_check_imports_nothing_heavy(project: Project) -> None:
    """``check`` reads files only: neither torch nor scipy nor the web server is imported."""
    program = (
        "import sys; from harness.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'scipy', 'transformers', 'fastapi', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    argv = [sys.executable, "-c", program, "check", "--root", str(project.root)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "all files are valid" in done.stdout


def test_module_is_the_command(project: Project) -> None:
    """``python -m harness`` gives the same exit code and prints the way to the report."""
    code, out, err = project.spawn("gate")
    assert code == 0, err
    assert f"report: {project.runs[-1] / 'report.html'}" in out
    assert "Traceback" not in err


def test_own_repository_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """The apps that ship pass ``check``."""
    assert main(["check", "--root", str(ROOT), "--baseline", "HEAD", "--json"]) == 0, capsys.readouterr()
    assert orjson.loads(capsys.readouterr().out)["exit_code"] == 0
