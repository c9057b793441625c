"""The one comment: written by trusted code from untrusted data, renewed in place, and honest about broken runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.comment import MARKER, bare
from tests.ci.hub import BOT, Hub, hub
from tests.ci.scratch import make_scratch
from tests.run.project import ALWAYS_OTHER, ROOT

SCRIPTS = ROOT / ".github/scripts"
FAIL = bare("fail", "gate desk/level failed", "revert", facts="one gate", changed="desk")
LINK = "https://github.example/shop/desk/actions/runs/7"


@pytest.fixture
def github() -> Iterator[Hub]:
    """A repository with one open pull request, from a fork."""
    with hub() as made:
        made.pulls = [{"number": 5, "label": "stranger:odd branch&x", "head": {"sha": "a" * 40}}]
        yield made


def ended(**more: Any) -> dict[str, Any]:
    """What GitHub says of the run that ended."""
    run = {
        "id": 7, "conclusion": "failure", "event": "pull_request", "html_url": LINK, "head_sha": "a" * 40,
        "head_branch": "odd branch&x",
        "head_repository": {"owner": {"login": "stranger"}, "full_name": "stranger/desk"},
    }  # fmt: skip
    return {"workflow_run": run | more}


def run_script(github: Hub, folder: Path, event: dict[str, Any], left: Path) -> subprocess.CompletedProcess[str]:
    """Run the script as the workflow does."""
    path = folder / "event.json"
    path.write_text(json.dumps(event), encoding="utf-8")
    env = {
        **os.environ, "GITHUB_EVENT_PATH": str(path), "GITHUB_API_URL": github.url, "GITHUB_TOKEN": "right",
        "GITHUB_REPOSITORY": "shop/desk",
    }  # fmt: skip
    command = [sys.executable, str(SCRIPTS / "comment.py"), str(left)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def left(folder: Path, content: Any = FAIL, name: str = "comment.json") -> Path:
    """The artifact of a run."""
    place = folder / "untrusted"
    place.mkdir(exist_ok=True)
    (place / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return place


def test_one_comment_that_is_renewed(github: Hub, tmp_path: Path) -> None:
    """Two runs make one comment with the newest verdict; those of people, marker or not, are left alone."""
    github.comments[5] = [{"id": 1, "user": {"login": "someone"}, "body": f"{MARKER} mine"}]
    github.comments[5] += [{"id": 10 + n, "user": BOT, "body": "another tool's"} for n in range(150)]
    assert run_script(github, tmp_path, ended(), left(tmp_path)).returncode == 0
    better = bare("pass", "fine", "merge", facts="all", changed="desk")
    assert run_script(github, tmp_path, ended(conclusion="success"), left(tmp_path, better)).returncode == 0
    assert len(github.comments[5]) == 152
    mine = github.comments[5][-1]["body"]
    assert mine.startswith(f"{MARKER}\n## ✅ Signoff: pass\n")
    assert mine.rstrip().endswith(f"**Next:** merge · [report]({LINK})")
    assert github.comments[5][0]["body"] == f"{MARKER} mine"


@pytest.mark.parametrize(
    "content",
    ["", "null", "[" * 100_000, json.dumps(FAIL | {"reasons": ["x" * 70_000]}), json.dumps(FAIL | {"script": "x"})],
    ids=["empty", "null", "deep", "long", "key"],
)
def test_hostile_data_is_not_shown(github: Hub, tmp_path: Path, content: str) -> None:
    """What has another shape, or too many bytes, is replaced by a sentence that says so."""
    assert run_script(github, tmp_path, ended(), left(tmp_path, content)).returncode == 0
    (comment,) = github.comments[5]
    assert "## ⚠️ Signoff: error" in comment["body"]
    assert "left nothing that can be shown" in comment["body"]
    assert len(comment["body"]) < 2_000


def test_other_files_are_not_read(github: Hub, tmp_path: Path) -> None:
    """A second file, a link or no file at all: nothing of it is looked at."""
    folder = left(tmp_path)
    left(tmp_path, "import os", name="jobs.py")
    run_script(github, tmp_path, ended(), folder)
    assert "must hold the one file" in github.comments[5][0]["body"].replace("\\", "")
    for path in folder.iterdir():
        path.unlink()
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(FAIL), encoding="utf-8")
    (folder / "comment.json").symlink_to(secret)
    run_script(github, tmp_path, ended(), folder)
    assert "Signoff: error" in github.comments[5][0]["body"]
    run_script(github, tmp_path, ended(), tmp_path / "nowhere")
    assert len(github.comments[5]) == 1


@pytest.mark.parametrize(("conclusion", "verdict"), [("failure", "pass"), ("success", "fail"), ("timed_out", "pass")])
def test_a_run_that_contradicts_itself_is_told_so(github: Hub, tmp_path: Path, conclusion: str, verdict: str) -> None:
    """Green words from a red run, or the other way round, are not repeated."""
    run_script(github, tmp_path, ended(conclusion=conclusion), left(tmp_path, FAIL | {"verdict": verdict}))
    body = github.comments[5][0]["body"]
    assert "Signoff: error" in body
    assert f"ended as {conclusion}, but says of itself: {verdict}" in body.replace("\\", "")


def test_only_the_newest_commit_is_commented(github: Hub, tmp_path: Path) -> None:
    """A run of an older push, of a closed request, and one that was cancelled say nothing."""
    for event in (ended(head_sha="b" * 40), ended(head_branch="other"), ended(conclusion="cancelled")):
        assert run_script(github, tmp_path, event, left(tmp_path)).returncode == 0
    assert github.comments == {}


def test_a_refused_token_is_an_error(github: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job is red when it could not tell anybody."""
    github.answer = lambda *args: (403, {"message": "forbidden"})  # type: ignore[method-assign]
    assert run_script(github, tmp_path, ended(), left(tmp_path)).returncode != 0


def test_from_a_red_run_to_its_comment(github: Hub, tmp_path: Path) -> None:
    """The artifact of a real run of the workflow goes through the real comment workflow."""
    scratch = make_scratch(tmp_path)
    scratch.project.write({"suites/desk/desk.py": ALWAYS_OTHER})
    red = scratch.pull_request()
    project = scratch.project
    project.git("push", "--quiet", "--force", "origin", "main")
    told = scratch.run(
        "comment.yml",
        ended(id=red.github["run_id"]),
        {
            "event_name": "workflow_run",
            "ref": "refs/heads/main",
            "sha": project.git("rev-parse", "main"),
            "token": "right",
        },
        environment={"GITHUB_API_URL": github.url},
        artifacts_of={str(red.github["run_id"]): red.artifacts},
    )
    assert told.conclusion == "success", told.jobs["comment"].log
    (comment,) = github.comments[5]
    lines = [line for line in comment["body"].splitlines() if line.strip()]
    assert (lines[0], lines[1]) == (MARKER, "## ❌ Signoff: fail")
    assert len(lines) <= 16
    assert sum(line.startswith("@@ desk / case-") for line in lines) == 2
    assert "- refund" in lines
    assert "+ other" in lines
