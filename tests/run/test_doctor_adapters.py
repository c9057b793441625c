"""What ``signoff doctor`` says of marts that cannot be built, and of adapters that are absent or damaged."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.run.mart import mart_files
from tests.run.project import GATES, Project, make_project
from tests.run.tiny_choice import APP, MODEL, RECIPE, SHA256, SUITE, prompt, write_adapter

VERSION = "models/adapters/sorter/1.0.0"
APP_FILE = "suites/desk/app.yaml"
NAMING = APP.replace("    model: tiny\n", "    model: tiny\n    adapter: sorter/1.0.0\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A repository with marts, two recipes of which the app names one, and nothing built."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    recipe = RECIPE.replace("mart: letters", "mart: tickets").replace("completion: label", "completion: customer")
    recipe = recipe.replace("rows: {", "rows: {validation: test, ")
    made = make_project(
        tmp_path,
        files={
            **mart_files(),
            "models/tiny/model.yaml": MODEL.format(name="tiny", sha256=SHA256["tiny"]),
            "prompts/desk/sort/1.0.0.prompty": prompt("1.0.0", "{{ message }}"),
            "models/adapters/sorter/recipe.yaml": recipe,
            "models/adapters/idle/recipe.yaml": recipe.replace("name: sorter", "name: idle"),
            APP_FILE: APP,
            "suites/desk/desk.py": "def shout(label):\n    return label\n",
            "suites/desk/suite.yaml": SUITE,
            "suites/desk/gates.yaml": GATES,
            ".gitignore": "reports/\n__pycache__/\nbuild/\n",
        },
    )
    made.write({APP_FILE: NAMING})
    return made


def examined(project: Project, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the findings by name."""
    capsys.readouterr()
    code = project.run("doctor", "--json")
    return code, {each["name"]: each for each in orjson.loads(capsys.readouterr().out)["findings"]}


def test_an_adapter_that_an_app_names_and_nobody_built(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """It makes a gate impossible; one that only has a recipe is a warning; both say how they are built."""
    code, found = examined(project, capsys)
    assert (code, found["sorter/1.0.0"]["level"], found["idle/1.0.0"]["level"]) == (64, "problem", "warning")
    assert found["sorter/1.0.0"]["found"] == "not built, though desk names it"
    assert found["sorter/1.0.0"]["do"] == f"signoff finetune sorter, and commit {VERSION}/"
    assert found["adapters"]["found"] == "0 of 2 built, as their manifests say"
    assert project.run("gate") == 64
    # A build that was killed leaves such folders.
    (project.root / VERSION).mkdir()
    (project.root / "models/adapters/sorter/.1.0.0.building").mkdir()
    code, found = examined(project, capsys)
    assert found["sorter/1.0.0"]["level"] == "problem"
    assert ".1.0.0.building" not in str(found)
    (project.root / VERSION).rmdir()
    write_adapter(project.root / VERSION)
    code, found = examined(project, capsys)
    assert (code, found["files"]["found"]) == (0, "1 app, 60 cases")
    assert found["adapters"]["found"] == "1 of 2 built, as their manifests say"
    assert "sorter/1.0.0" not in found


def test_an_adapter_whose_bytes_changed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte is named with its file, without torch; it is a problem only for the app that names it."""
    weights = write_adapter(project.root / VERSION) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, found = examined(project, capsys)
    assert (code, found["sorter/1.0.0"]["level"]) == (64, "problem")
    assert f"{VERSION}/adapter_model.safetensors has sha256" in found["sorter/1.0.0"]["found"]
    assert "restore it" in found["sorter/1.0.0"]["do"]
    project.write({APP_FILE: APP})
    code, found = examined(project, capsys)
    assert (code, found["sorter/1.0.0"]["level"]) == (0, "warning")


def test_an_endpoint_serves_its_own_adapters(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What a model names that runs elsewhere lies in no tree, and is not missed."""
    endpoint = (
        "name: tiny\nendpoint: http://127.0.0.1:9/v1\nlicence: MIT\ncontext: 2048\nadapters: {sorter/1.0.0: far}\n"
    )
    project.write({"models/tiny/model.yaml": endpoint})
    _, found = examined(project, capsys)
    assert found["sorter/1.0.0"]["level"] == "warning"
    assert found["sorter/1.0.0"]["found"] == "has a recipe and is not built"


def test_marts_without_duckdb(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate of a tree with marts ends at once without it, so it is a problem, whatever else is wrong."""
    project.write({APP_FILE: APP})
    assert examined(project, capsys)[1]["marts"]["level"] == "ok"
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert importlib.util.find_spec("duckdb") is None
    code, found = examined(project, capsys)
    assert (code, found["marts"]["level"]) == (64, "problem")
    assert found["marts"]["found"] == "1 to build, and duckdb not installed"
    assert found["marts"]["do"] == "pip install 'signoff[data]'"
    assert project.run("gate", "--only", "data") == 64
    assert "pip install 'signoff[data]'" in capsys.readouterr().err
    (project.root / "data/tickets/mart.yaml").unlink()
    assert "marts" not in examined(project, capsys)[1]
