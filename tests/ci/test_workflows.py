"""The workflow files themselves: valid, pinned, without rights that they do not need."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.run.project import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
BIN = Path(sys.executable).parent
PIN = re.compile(r"uses: (\S+?)@(\S+)(?: # (v\d+\.\d+\.\d+))?$")


def read(path: Path) -> Any:
    """The file's content; ``on`` is a boolean to YAML."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, Any]:
    """The jobs of a workflow."""
    found: dict[str, Any] = read(path)["jobs"]
    return found


@pytest.mark.parametrize("persona", ["regular", "pedantic"])
def test_zizmor_finds_nothing(persona: str) -> None:
    """Template injection, dangerous triggers, kept credentials, too many rights and unpinned actions: none."""
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--no-progress", "--persona", persona, "--min-severity", "low", ".github"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_zizmor_is_awake(tmp_path: Path) -> None:
    """The same call finds an injected title, so that silence means something."""
    path = tmp_path / ".github/workflows/bad.yml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        "      - run: echo ${{ github.event.pull_request.title }}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--no-progress", "--min-severity", "low", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "template-injection" in done.stdout


@pytest.mark.parametrize(
    ("schema", "files"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.github-actions", ACTIONS)],
    ids=["workflows", "actions"],
)
def test_files_follow_their_schema(schema: str, files: list[Path]) -> None:
    """Every key is one that GitHub knows, by the schema that check-jsonschema brings with it."""
    assert files
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", schema, *map(str, files)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """Each action is a whole SHA with its version beside it, and one action has one SHA everywhere."""
    lines = [line.strip().removeprefix("- ") for line in path.read_text(encoding="utf-8").splitlines()]
    for line in (line for line in lines if line.startswith("uses:")):
        found = PIN.fullmatch(line)
        assert found, line
        assert re.fullmatch(r"[0-9a-f]{40}", found.group(2)), line
        assert found.group(3), f"{line}: say the version in a comment"
        assert found.group(1).split("/")[0] == "actions", f"{line}: only GitHub's own actions"


def test_one_commit_for_each_action() -> None:
    """Two pins of one action would mean that one of them was forgotten."""
    pins: dict[str, set[str]] = {}
    for path in [*WORKFLOWS, *ACTIONS]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.search(r"uses: actions/([\w-]+)(?:/[\w-]+)?@(\S+)", line):
                pins.setdefault(found.group(1), set()).add(found.group(2))
    assert {name: len(found) for name, found in pins.items()} == dict.fromkeys(pins, 1)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_the_least(path: Path) -> None:
    """No workflow writes anything; single jobs may comment or open an issue, and none sees a secret."""
    workflow = read(path)
    assert workflow["permissions"] in ({"contents": "read"}, {})
    assert "secrets." not in path.read_text(encoding="utf-8")
    writing = {
        (name, right)
        for name, job in jobs(path).items()
        for right, level in (job.get("permissions") or {}).items()
        if level == "write"
    }
    allowed = {"comment.yml": {("comment", "pull-requests")}, "nightly.yml": {("issue", "issues")}}
    assert writing == allowed.get(path.name, set())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_ends_and_every_run_has_its_group(path: Path) -> None:
    """A hanging job costs at most its minutes; two runs of the same thing do not race."""
    workflow = read(path)
    assert workflow["concurrency"]["group"]
    assert all(1 <= job["timeout-minutes"] <= 120 for job in jobs(path).values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_logic_lives_in_scripts(path: Path) -> None:
    """A ``run:`` is one command that also runs on a laptop, and no expression is put into it."""
    for job in jobs(path).values():
        for step in job["steps"]:
            command = step.get("run", "python")
            assert "\n" not in command
            assert "${{" not in command
            assert command.startswith("python")


def test_the_pull_request_has_no_rights_and_one_verdict() -> None:
    """Forks run without secrets, the verdict always runs and waits for every job, and the queue asks for it as well."""
    path = ROOT / ".github/workflows/pull-request.yml"
    triggers = read(path)[True]
    assert set(triggers) == {"pull_request", "merge_group"}
    verdict = jobs(path)["verdict"]
    assert verdict["if"] == "always()"
    assert set(verdict["needs"]) == set(jobs(path)) - {"verdict"}
    for job in jobs(path).values():
        (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}


def test_pull_requests_only_read_caches() -> None:
    """Caches are named by digests, and only the nightly run of the default branch writes them."""
    for path in WORKFLOWS:
        for job in jobs(path).values():
            for step in job["steps"]:
                action = step.get("uses", "").split("@")[0]
                assert action != "actions/cache", "restores and saves in one"
                if action == "actions/cache/save":
                    assert path.name == "nightly.yml"
                    assert "default_branch" in step["if"]
                if action.startswith("actions/cache/"):
                    assert "hashFiles('constraints.txt', 'models/*/model.yaml')" in step["with"]["key"]


def test_comments_run_trusted_code_only() -> None:
    """The workflow with rights checks out no other ref than the default branch's, and hands no text to a shell."""
    path = ROOT / ".github/workflows/comment.yml"
    (job,) = jobs(path).values()
    (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"] == {"persist-credentials": False}
    assert set(read(path)[True]) == {"workflow_run"}
    assert read(path)[True]["workflow_run"]["workflows"] == [read(ROOT / ".github/workflows/pull-request.yml")["name"]]
