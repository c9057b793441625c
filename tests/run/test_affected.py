"""What a change makes necessary to measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.run.project import APP, GATES, REWORDED, SORT, SUITE, Project, case_lines, make_project

MODEL = """\
name: far
engine: openai
base_url: http://127.0.0.1:9/v1
model_id: far
licence: none
context: 1000
"""
PROMPT = """\
---
name: tone
metadata: {version: 1.0.0}
inputs:
  message: {kind: string}
---
user:
Say it kindly: {{ message }}
"""


def suite(name: str, app: str = APP) -> dict[str, str]:
    """The files of an app called ``name``."""
    files = {
        "app.yaml": app.replace("name: desk", f"name: {name}"),
        "desk.py": SORT,
        "suite.yaml": SUITE,
        "gates.yaml": GATES,
        "cases/all.jsonl": case_lines(60),
    }
    return {f"suites/{name}/{path}": text for path, text in files.items()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A branch beside a default branch with the apps desk and shop, which share nothing."""
    made = make_project(tmp_path, files=suite("shop"))
    made.branch()
    return made


def found(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> Any:
    """The command's JSON."""
    capsys.readouterr()
    assert project.run("affected", "--json", *args) == 0
    return json.loads(capsys.readouterr().out)


def test_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that no digest covers affect nothing: no job is needed."""
    project.write({"README.md": "hello", "suites/desk/notes.txt": "not part of the app", "suites/desk/test_x.py": ""})
    project.commit()
    told = found(project, capsys)
    assert (told["any"], told["affected"], told["jobs"]) == (False, [], [])


def test_only_the_app_whose_bytes_changed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A function of one app affects that app alone, with the reason, and gives a job for each of its stages."""
    project.write({"suites/desk/desk.py": REWORDED, "suites/desk/probes.yaml": "probes: [{id: r, family: canary}]\n"})
    told = found(project, capsys)
    assert told["affected"] == ["desk"]
    assert told["apps"]["desk"]["because"][0] == "step sort: its function or data files changed"
    assert told["apps"]["shop"] == {"affected": False, "because": [], "stages": [], "pinned": True}
    assert told["jobs"] == [{"stage": "regression", "apps": ["desk"]}, {"stage": "safety", "apps": ["desk"]}]


def test_a_moved_yardstick_affects_its_app(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """An equal app with other gates must be decided anew."""
    project.edit("suites/shop/gates.yaml", "threshold: 0.8", "threshold: 0.7")
    told = found(project, capsys)
    assert told["affected"] == ["shop"]
    assert told["apps"]["shop"]["because"] == ["yardstick (looser): gate level: threshold 0.8 -> 0.7"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("constraints.txt", "runtime moved: constraints.txt"),
        ("harness/serve/engine.py", "harness code changed: harness/serve/engine.py"),
    ],
)
def test_runtime_and_harness_affect_everything(
    project: Project, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    """What all apps run on touches all of them, whether git follows the file already or not."""
    project.write({name: "torch==2.0\n"})
    for committed in (False, True):
        if committed:
            project.commit()
        told = found(project, capsys)
        assert told["affected"] == ["desk", "shop"]
        assert told["apps"]["desk"]["because"] == [reason]


def test_a_shared_prompt_affects_those_who_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two apps read one prompt, a third does not."""
    app = (
        """\
    name: desk
    inputs:
      message: {kind: string, from: user_message}
    steps:
      - {id: say, kind: llm, model: far, prompt: common/tone/1.0.0, inputs: {message: inputs.message}}
    """.replace("\n    ", "\n").strip()
        + "\n"
    )
    files = {**suite("first", app), **suite("second", app), "prompts/common/tone/1.0.0.prompty": PROMPT}
    made = make_project(tmp_path, files={**files, "models/far/model.yaml": MODEL})
    made.branch()
    made.write({"prompts/common/tone/1.1.0.prompty": PROMPT.replace("1.0.0", "1.1.0").replace("kindly", "briefly")})
    assert found(made, capsys)["affected"] == []
    for name in ("first", "second"):
        made.edit(f"suites/{name}/app.yaml", "tone/1.0.0", "tone/1.1.0")
    told = found(made, capsys)
    assert told["affected"] == ["first", "second"]
    assert told["apps"]["first"]["because"] == ["prompt common/tone/1.0.0 -> 1.1.0"]


def test_new_and_deleted_apps(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A new app is measured; one that is gone is named, and all others are decided with it."""
    project.write(suite("fresh"))
    project.git("rm", "-r", "--quiet", "suites/shop")
    told = found(project, capsys)
    assert (told["affected"], told["removed"]) == (["desk", "fresh"], ["shop"])
    assert told["apps"]["fresh"]["because"] == ["new app, no baseline", "app shop was deleted"]
    assert told["apps"]["desk"]["because"] == ["app shop was deleted"]


def test_since_chooses_the_commit(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted from the branch's own last commit nothing changed; an unknown commit is named."""
    project.write({"suites/desk/desk.py": REWORDED})
    project.commit()
    assert found(project, capsys, "--since", "HEAD")["affected"] == []
    assert found(project, capsys, "--since", "main")["affected"] == ["desk"]
    assert project.run("affected", "--since", "nowhere") == 64
    assert "'nowhere'" in capsys.readouterr().err


def test_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Each app in a line, with the reasons below it."""
    project.write({"suites/desk/desk.py": REWORDED})
    assert project.run("affected") == 0
    out = capsys.readouterr().out
    assert out == ("desk: measure regression\n  - step sort: its function or data files changed\nshop: not affected\n")


def test_places_are_recorded(project: Project) -> None:
    """The run knows which lines of which file changed, and where each gate stands."""
    project.write({"suites/desk/desk.py": REWORDED})
    assert project.run("gate", "--app", "desk") == 0
    assert project.file("run.json")["places"] == {
        "changed": [{"app": "desk", "path": "suites/desk/desk.py", "line": 2, "end": 2}],
        "gates": {"desk/level": 2, "desk/no-worse": 3},
    }
