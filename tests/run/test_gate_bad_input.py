"""Mistakes of a person: exit code 64, a message that names file, line and mending, and no traceback."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.project import APP, SORT, SUITE, Project, case_lines, make_project

PROMPT = """\
---
name: sort
metadata:
  version: 1.0.0
inputs:
  message: {kind: string}
---
user:
Sort this: {{ message }}
"""
LLM_APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: sort
    kind: llm
    prompt: desk/sort/1.0.0
    model: remote
    inputs: {message: inputs.message}
"""
MODEL = """\
name: remote
engine: openai
base_url: http://127.0.0.1:9/v1
model_id: some-model
licence: MIT
context: 2048
"""
LLM_FILES = {
    "suites/desk/app.yaml": LLM_APP,
    "prompts/desk/sort/1.0.0.prompty": PROMPT,
    "models/remote/model.yaml": MODEL,
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The sample project on a branch."""
    made = make_project(tmp_path, count=6)
    made.branch()
    return made


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("suites/desk/app.yaml", "name: desk\n  inputs: [", "suites/desk/app.yaml:2: not valid YAML"),
        ("suites/desk/app.yaml", APP + "colour: blue\n", "suites/desk/app.yaml:9: unknown key 'colour'"),
        ("suites/desk/app.yaml", APP.replace("name: desk\n", ""), "missing field 'name'"),
        ("suites/desk/app.yaml", APP + "name: desk\n", "duplicate key 'name'"),
        ("suites/desk/app.yaml", APP.replace("desk.py:label", "gone.py:label"), "no file 'gone.py'"),
        ("suites/desk/app.yaml", APP.replace("kind: function", "kind: magic"), "app.yaml:5"),
        ("suites/desk/app.yaml", APP.replace("inputs.message", "inputs.mesage"), "declared inputs: message"),
        ("suites/desk/app.yaml", "", "expected a mapping"),
        (
            "suites/desk/gates.yaml",
            "gates:\n  - {id: a, metric: wrong, rule: at_least, threshold: 1}\n",
            "measures: right",
        ),
        ("suites/desk/gates.yaml", "gates:\n  - {id: a, metric: right, rule: above, threshold: 1}\n", "gates.yaml:2"),
        ("suites/desk/suite.yaml", SUITE.replace("label_match", "label_mach"), "no check 'label_mach'"),
        ("suites/desk/cases/all.jsonl", case_lines(2) + case_lines(1), "duplicate case id 'case-000'"),
        ("suites/desk/cases/all.jsonl", case_lines(2) + '{"id": "x", \n', "all.jsonl:3: not valid JSON"),
        ("suites/desk/cases/all.jsonl", '{"id": "x", "slices": ["typos"]}\n', "slice 'typos' is not declared"),
        ("suites/desk/cases/all.jsonl", '{"id": "x", "inputz": {}}\n', "unknown key 'inputz'"),
        ("suites/desk/cases/all.jsonl", "", "no case in this file"),
    ],
)
def test_broken_file_is_named(
    project: Project, file: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check and gate exit 64 with the file and what is wrong in it, and no run folder is made."""
    project.write({file: text})
    assert project.run("check") == 64
    told = capsys.readouterr().err
    assert said in told and file in told
    assert project.run("gate") == 64
    assert said in capsys.readouterr().err
    assert project.runs == []


def test_every_problem_at_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems of several files come in one message, sorted by file and line."""
    project.write({"suites/desk/gates.yaml": "gates: 3\n", "suites/desk/suite.yaml": "check: []\n"})
    assert project.run("check") == 64
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("signoff: ") and told[0].endswith("problems")
    places = [line.split(":")[0].strip() for line in told[1:]]
    assert places == sorted(places)
    assert {"suites/desk/gates.yaml", "suites/desk/suite.yaml"} <= set(places)


def test_unknown_model_lists_the_known(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A step whose model has no folder is told which models there are."""
    project.write({**LLM_FILES, "suites/desk/app.yaml": LLM_APP.replace("model: remote", "model: remoter")})
    assert project.run("check") == 64
    assert "no model 'remoter'; there are: remote" in capsys.readouterr().err


def test_unknown_prompt_lists_the_versions(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A step whose prompt version does not exist is told which versions there are."""
    project.write({**LLM_FILES, "suites/desk/app.yaml": LLM_APP.replace("1.0.0", "2.0.0")})
    assert project.run("check") == 64
    assert "there are: desk/sort/1.0.0" in capsys.readouterr().err


def test_released_prompt_edited_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Editing a prompt that the baseline has exits 64 and names the version to save the change under."""
    project = make_project(tmp_path, count=6, files=LLM_FILES)
    project.branch()
    project.edit("prompts/desk/sort/1.0.0.prompty", "Sort this", "Sort that")
    for command in ("check", "gate"):
        assert project.run(command) == 64
        told = capsys.readouterr().err
        assert "prompts/desk/sort/1.0.0.prompty" in told and "1.0.1.prompty" in told
    project.write({"prompts/desk/sort/1.0.1.prompty": PROMPT.replace("1.0.0", "1.0.1").replace("this", "that")})
    project.git("checkout", "main", "--", "prompts")
    assert project.run("check") == 0


def test_shallow_clone_names_the_mending(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clone without the baseline exits 64 and names fetch-depth: 0."""
    origin = make_project(tmp_path, count=6)
    origin.write({"suites/desk/desk.py": SORT + "\n"})
    origin.commit()
    subprocess.run(
        ["git", "clone", "--quiet", "--depth", "1", f"file://{origin.root}", str(tmp_path / "clone")], check=True
    )
    assert Project(tmp_path / "clone").run("gate") == 64
    assert "fetch-depth: 0" in capsys.readouterr().err


def test_unknown_baseline_is_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A --baseline that is no commit exits 64 with its name; 'release' without a tag says what a release is."""
    assert project.run("gate", "--baseline", "nowhere") == 64
    assert "'nowhere'" in capsys.readouterr().err
    assert project.run("gate", "--baseline", "release") == 64
    assert "no release yet" in capsys.readouterr().err
    project.git("tag", "v1.0.0")
    assert project.run("check", "--baseline", "release") == 0


def test_unknown_app_lists_the_known(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """--app with a name that has no folder exits 64 and lists the apps."""
    assert project.run("gate", "--app", "dosk") == 64
    assert "no app 'dosk'; known apps: desk" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["def label(message):\n    return 1 +\n", "raise SystemExit(5)\n", "x = 1\n"])
def test_function_file_that_does_not_load(project: Project, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A function file that does not import, or lacks the function, exits 64 and is named."""
    project.write({"suites/desk/desk.py": source})
    assert project.run("gate") == 64
    assert "desk.py" in capsys.readouterr().err
    assert project.run("check") == 64
    assert project.runs == []


def test_folder_without_apps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is no project exits 64 and says what was looked for."""
    assert Project(tmp_path).run("check") == 64
    assert "no suites/<app>/app.yaml" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk_is_named(
    project: Project, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache on a full disk exits 64, names the folder and the variable that moves it."""
    (small_disk / "fill").write_bytes(b"x" * ((1 << 20) - 4096))
    monkeypatch.setenv("SIGNOFF_CACHE", str(small_disk / "cache"))
    assert project.run("gate") == 64
    told = capsys.readouterr().err
    assert str(small_disk) in told and "SIGNOFF_CACHE" in told


def test_process_ends_without_traceback(project: Project) -> None:
    """As a process of its own, a bad file gives 64, its message on standard error and no traceback."""
    project.write({"suites/desk/app.yaml": "name: ["})
    code, out, err = project.spawn("gate")
    assert (code, out) == (64, "")
    assert "not valid YAML" in err and "Traceback" not in err
