"""The nightly issue: one, kept up to date, closed by the first night that passes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nox.command import CommandFailed

from harness.cli.main import parser
from harness.report.comment import bare
from tests.ci.hub import BOT, Hub, hub
from tests.run.project import REWORDED, ROOT, make_project

FAIL = bare("fail", "gate desk/level failed", "revert", facts="one gate", changed="desk")
PASS = bare("pass", "fine", "merge", facts="one gate", changed="desk")


@pytest.fixture
def github() -> Iterator[Hub]:
    """A repository without issues."""
    with hub() as made:
        yield made


def night(github: Hub, folder: Path, result: str, told: dict[str, Any] | None) -> None:
    """One night: how the job ended, and what its gate said (None: it never ran)."""
    left = folder / "nightly"
    left.mkdir(exist_ok=True)
    (left / "comment.json").unlink(missing_ok=True)
    if told is not None:
        (left / "comment.json").write_text(json.dumps(told), encoding="utf-8")
    env = {
        **os.environ, "GITHUB_API_URL": github.url, "GITHUB_TOKEN": "right", "GITHUB_REPOSITORY": "shop/desk",
        "GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "9", "RESULT": result,
    }  # fmt: skip
    command = [sys.executable, str(ROOT / ".github/scripts/issue.py"), str(left)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_bad_nights_share_one_issue_that_closes_itself(github: Hub, tmp_path: Path) -> None:
    """Three bad nights open one issue with the newest words; a good one closes it; a bad one after it opens another."""
    night(github, tmp_path, "failure", FAIL)
    night(github, tmp_path, "failure", FAIL | {"reasons": ["gate desk/other failed"]})
    night(github, tmp_path, "failure", None)
    (issue,) = github.issues
    assert issue["labels"] == ["signoff-nightly"]
    assert "the gate never ran" in issue["body"]
    assert "https://github.example/shop/desk/actions/runs/9" in issue["body"]
    night(github, tmp_path, "success", PASS)
    assert issue["state"] == "closed"
    assert github.comments[issue["number"]][0]["body"].startswith("Passed again: ")
    night(github, tmp_path, "success", PASS)
    assert len(github.issues) == 1
    night(github, tmp_path, "failure", FAIL)
    assert [one["state"] for one in github.issues] == ["closed", "open"]


def test_a_broken_night_beside_a_passing_gate(github: Hub, tmp_path: Path) -> None:
    """The gate's pass is not told where something beside it failed."""
    night(github, tmp_path, "failure", PASS)
    assert "a mart, an adapter, a test or a benchmark did not" in github.issues[0]["body"]
    assert "Signoff: error" in github.issues[0]["body"]


def test_twins_are_closed_and_people_left_alone(github: Hub, tmp_path: Path) -> None:
    """Two issues of the same kind, as a race may leave them, become one; an issue of a person keeps its label."""
    mine = {"state": "open", "user": BOT, "body": "<!-- signoff-nightly -->\nx", "labels": ["signoff-nightly"]}
    github.issues = [dict(mine) | {"number": 1}, dict(mine) | {"number": 2}]
    github.issues.append(dict(mine) | {"number": 3, "user": {"login": "someone"}})
    night(github, tmp_path, "failure", FAIL)
    assert [one["state"] for one in github.issues] == ["open", "closed", "open"]
    assert "Signoff: fail" in github.issues[0]["body"]


def test_every_command_of_the_night_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the session runs is understood by the command line and by the benchmarks; one failure hides no other."""
    spec = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None and spec.loader is not None
    noxfile = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(noxfile)
    monkeypatch.setattr(noxfile, "environment", lambda session: None)
    ran: list[list[str]] = []
    said: list[str] = []

    def run(*command: str, **more: Any) -> None:
        ran.append(list(command))
        raise CommandFailed

    noxfile.nightly(SimpleNamespace(posargs=[], run=run, error=said.append))
    for name, *words in ran:
        if Path(name).name == "signoff":
            parser().parse_args(words)
        elif words[0].startswith("benchmarks/"):
            command = [sys.executable, str(ROOT / words[0]), "--help"]
            told = subprocess.run(command, capture_output=True, text=True, check=True)
            assert all(word in told.stdout for word in words[1:] if word.startswith("--")), words
        else:
            assert words[:2] == ["-m", "pytest"]
    for part in ("data build", "adapters verify", "gate --profile", "benchmarks/tuning.py --steps", "-m pytest"):
        assert part in said[0], said


def test_a_release_is_compared_with_the_one_before(tmp_path: Path) -> None:
    """On a tag the baseline is the tag before it, not the tag itself; the first release has its parent."""
    project = make_project(tmp_path)
    project.write(
        {"suites/desk/monitor.yaml": "indicators:\n  - {id: available, kind: availability, at_least: 0.95}\n"}
    )
    project.git("tag", "v1.0.0")
    project.write({"suites/desk/desk.py": REWORDED})
    project.commit()
    project.git("tag", "v1.1.0")
    command = [sys.executable, str(ROOT / ".github/scripts/release.py")]
    env = {**os.environ, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    done = subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert "$ signoff gate --profile release --baseline v1.0.0" in done.stdout, done.stdout + done.stderr
    assert project.file("run.json")["baseline_ref"] == "v1.0.0"
    assert "Signoff: " in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_the_action_gates_another_repository(tmp_path: Path) -> None:
    """The action's step runs in the caller's repository, sets its outputs, and ends as the gate ended."""
    project = make_project(tmp_path)
    project.branch()
    project.write({"suites/desk/desk.py": REWORDED})
    output = tmp_path / "output"
    env = {**os.environ, "GITHUB_OUTPUT": str(output), "PROFILE": "pr", "BASELINE": "main", "APPS": "desk"}
    command = [sys.executable, str(ROOT / ".github/actions/gate/gate.py")]
    for name, code in (("desk", 0), ("nobody", 64)):
        output.write_text("", encoding="utf-8")
        done = subprocess.run(
            command,
            cwd=project.root,
            env=env | {"APPS": name},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stderr
        assert f"exit-code={code}" in output.read_text(encoding="utf-8")
    assert project.file("verdict.json")["verdict"] == "pass"
