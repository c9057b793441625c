"""The job that builds what a recipe names and the tree does not hold: really trained, fetched, committed, green."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.serve.engine.hub import ENGINE_REVISION
from harness.serve.engine.tiny import save_tiny
from harness.store import convert_once
from tests.ci.runner import Machine
from tests.ci.scratch import WORKFLOWS, Scratch, make_scratch
from tests.run.project import ROOT, Project, make_project
from tests.run.tiny_choice import MART, MODEL, RECIPE, SHA256, letters, prompt

SORTER = "models/adapters/sorter"
STEP = """\
  - id: sort
    kind: llm
    prompt: desk/sort/1.0.0
    model: tiny
    adapter: sorter/1.0.0
    inputs: {message: inputs.message}
    output: {kind: choice, options: [refund, other]}
"""
LEARNED = {
    "models/tiny/model.yaml": MODEL.format(name="tiny", sha256=SHA256["tiny"]),
    "prompts/desk/sort/1.0.0.prompty": prompt("1.0.0", "{{ message }}"),
    "data/letters/mart.yaml": MART,
    "data/letters/sql/01_letters.sql": "CREATE TABLE letters AS SELECT * FROM raw;\n",
    "data/letters/raw.csv": letters(),
    ".gitignore": "reports/\n__pycache__/\nbuild/\n",
}
FAST = RECIPE + "training: {sequence_length: 64, max_steps: 4, precision: float32, threads: 1}\n"


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """A default branch with the tiny model and a mart, whose model lies in the cache of every machine."""
    convert_once(f"tiny-{SHA256['tiny'][:16]}-r{ENGINE_REVISION}", tmp_path / "cache", save_tiny)
    return make_scratch(tmp_path, files=LEARNED)


def comment(machine: Machine) -> dict[str, Any]:
    """What the run left for the comment."""
    told: dict[str, Any] = json.loads((machine.artifacts / "comment/comment.json").read_text(encoding="utf-8"))
    return told


def test_an_adapter_is_built_fetched_and_committed(scratch: Scratch) -> None:
    """A recipe alone is red and says what to fetch; with the folder that the job left committed, it is green."""
    scratch.project.write({f"{SORTER}/recipe.yaml": FAST})
    red = scratch.pull_request()
    ended = {name: job.result for name, job in red.jobs.items()}
    assert ended["adapters"] == ended["verdict"] == "failure", red.jobs["adapters"].log
    assert {ended["tests"], ended["check"]} == {"success"}
    do = (
        "sorter/1.0.0 was built here and must be committed: gh run download 1 --name adapters --dir . && "
        "git add models/adapters && git commit -m 'Build adapters'"
    )
    assert comment(red)["reasons"][0] == f"job adapters failed: {do}"
    assert comment(red)["next_action"] == do
    assert do in red.jobs["adapters"].summary
    job = yaml.safe_load((scratch.project.root / WORKFLOWS / "pull-request.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for step in job["jobs"]["adapters"]["steps"] if "run" in step]
    assert [command for command in red.executed if command in set(commands[1:])] == commands[1:]
    manifest = json.loads((red.artifacts / f"adapters/{SORTER}/1.0.0/manifest.json").read_text(encoding="utf-8"))
    assert (manifest["provenance"]["dirty"], manifest["provenance"]["commit"]) == (False, red.github["sha"])
    shutil.copytree(red.artifacts / "adapters", scratch.project.root, dirs_exist_ok=True)
    green = scratch.pull_request()
    assert (green.conclusion, green.jobs["adapters"].outputs) == ("success", {"told": ""})
    assert "python .github/scripts/adapters.py build" not in green.executed
    assert not (green.artifacts / "adapters").exists()


def test_an_app_that_names_what_is_not_built(scratch: Scratch) -> None:
    """Checking the app fails for it; what the job of the adapters says comes first, here that it has no time for it."""
    scratch.project.write({f"{SORTER}/recipe.yaml": FAST + "budget: {seconds: 9000}\n"})
    text = (scratch.project.root / "suites/desk/app.yaml").read_text(encoding="utf-8")
    scratch.project.write({"suites/desk/app.yaml": text[: text.index("  - id: sort")] + STEP})
    red = scratch.pull_request()
    ended = {name: job.result for name, job in red.jobs.items()}
    assert ended == {
        "tests": "success", "check": "failure", "adapters": "failure", "measure": "skipped", "verdict": "failure",
    }  # fmt: skip
    assert "'sorter/1.0.0' is not built; build it with: signoff finetune sorter" in red.jobs["check"].log
    first, second, *_ = comment(red)["reasons"]
    assert first.startswith("job adapters failed: sorter/1.0.0 may take 9000 s and this job has 6000 s left: build it")
    assert second == "job check failed"
    assert not (red.artifacts / "adapters").exists()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository with two recipes, of which neither is built."""
    again = RECIPE.replace("name: sorter", "name: again")
    recipes = {f"{SORTER}/recipe.yaml": RECIPE, "models/adapters/again/recipe.yaml": again}
    return make_project(tmp_path, files=LEARNED | recipes)


def script(project: Project, task: str, *before: str, **environment: str) -> tuple[int, str, dict[str, str]]:
    """Exit code, messages and outputs of the script; ``before`` is Python that runs first."""
    out = project.root.parent / "outputs"
    out.write_text("", encoding="utf-8")
    path = ROOT / ".github/scripts/adapters.py"
    argv = f"sys.argv[1:] = [{task!r}]; sys.path.insert(0, {str(path.parent)!r})"
    code = "; ".join(["import sys, runpy", *before, argv, f"runpy.run_path({str(path)!r}, run_name='__main__')"])
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "GITHUB_OUTPUT": str(out), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    lines = out.read_text(encoding="utf-8").splitlines()
    return done.returncode, done.stdout + done.stderr, dict(line.split("=", 1) for line in lines)


def test_looking_needs_no_torch(project: Project) -> None:
    """What is missing is found by Python and YAML alone; a folder without a manifest is no built version."""
    (project.root / SORTER / "1.0.0").mkdir()
    none = "sys.modules.update(dict.fromkeys(['torch', 'transformers', 'duckdb', 'peft']))"
    code, _, found = script(project, "find", none)
    assert (code, found) == (0, {"missing": "again/1.0.0 sorter/1.0.0"})
    project.write({f"{SORTER}/1.0.0/manifest.json": "{}"})
    assert script(project, "find", none)[2] == {"missing": "again/1.0.0"}


def test_a_wrong_recipe_is_shown_at_its_line(project: Project) -> None:
    """Exit 64, and the other recipes are still looked at."""
    project.edit(f"{SORTER}/recipe.yaml", "licence: MIT", "license: MIT")
    code, said, found = script(project, "find")
    assert (code, found) == (64, {"missing": "again/1.0.0"})
    assert f"::error file={SORTER}/recipe.yaml,line=" in said


def test_builds_that_fail_or_do_not_fit_are_told_apart(project: Project) -> None:
    """One names a mart that is not there, the other wants more time than the job has; neither hides the other."""
    project.edit("models/adapters/again/recipe.yaml", "mart: letters", "mart: numbers")
    code, said, found = script(project, "build", ADAPTER_SECONDS="1799", SIGNOFF_CACHE=str(project.root.parent / "c"))
    assert code == 1
    assert "sorter/1.0.0 may take 1800 s and this job has 17" in found["told"]
    assert said.count("::error title=Signoff adapters::") == 2
    project.edit(f"{SORTER}/recipe.yaml", "licence: MIT", "budget: {seconds: 5}\nlicence: MIT")
    project.edit("models/adapters/again/recipe.yaml", "licence: MIT", "budget: {seconds: 5}\nlicence: MIT")
    code, _, found = script(project, "build", SIGNOFF_CACHE=str(project.root.parent / "c"))
    assert code == 1
    assert found["told"] == (
        "'signoff finetune again' ended with exit code 64; the log of this job says why; "
        "'signoff finetune sorter' ended with exit code 64; the log of this job says why"
    )
    assert not (project.root / "reports/ci/adapters").exists()
