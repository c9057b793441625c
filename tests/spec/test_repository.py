"""What an app's digest covers, and what is checked across files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.spec.repository import load_repository
from tests.run.project import APP, GATES, REWORDED, SORT, SUITE, Project, http_app, make_project
from tests.run.test_gate_bad_input import LLM_FILES, PROMPT


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An app of one function step."""
    return make_project(tmp_path, count=4)


def digest(project: Project) -> str:
    """The app's digest."""
    return load_repository(project.root).apps["desk"].digest


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        (lambda p: p.write({"suites/desk/desk.py": REWORDED}), True),
        (lambda p: p.write({"suites/desk/app.yaml": APP + "seed: 3\n"}), True),
        (lambda p: p.write({"suites/desk/app.yaml": APP + "output: steps.sort.status\n"}), True),
        (lambda p: p.edit("suites/desk/app.yaml", "from: user_message", "default: x"), True),
        (lambda p: p.write({"suites/desk/desk.py": SORT.replace("\n", "\r\n")}), False),
        (lambda p: p.write({"suites/desk/app.yaml": "# a comment\n" + APP + "description: said\n"}), False),
        (lambda p: p.write({"suites/desk/gates.yaml": GATES.replace("0.8", "0.7")}), False),
        (lambda p: p.write({"suites/desk/notes.txt": "x"}), False),
    ],
    ids=["function", "seed", "output", "inputs", "line ends", "description", "gates", "other file"],
)
def test_digest_covers_what_decides_the_answers(
    project: Project, change: Callable[[Project], None], moves: bool
) -> None:
    """The digest moves with what may change an answer and with nothing else."""
    before = digest(project)
    change(project)
    assert (digest(project) != before) == moves


@pytest.mark.parametrize(
    ("file", "old", "new", "moves"),
    [
        ("prompts/desk/sort/1.0.0.prompty", "Sort this", "Sort that", True),
        ("models/remote/model.yaml", "some-model", "other-model", True),
        ("models/remote/model.yaml", "licence: MIT", "licence: Apache-2.0", False),
    ],
)
def test_digest_covers_prompt_and_model(tmp_path: Path, file: str, old: str, new: str, moves: bool) -> None:
    """A prompt's text and a model's identity belong to the app; a model's licence text does not."""
    project = make_project(tmp_path, count=4, files=LLM_FILES)
    before = digest(project)
    project.edit(file, old, new)
    assert (digest(project) != before) == moves


def test_data_files_of_a_function_belong_to_the_app(project: Project) -> None:
    """A file that a step declares is part of the digest, one outside the suite's folder is refused."""
    project.write({"suites/desk/table.yaml": "a: 1\n"})
    project.edit("suites/desk/app.yaml", "desk.py:label", "desk.py:label\n    files: [table.yaml]")
    before = digest(project)
    project.write({"suites/desk/table.yaml": "a: 2\n"})
    assert digest(project) != before
    project.edit("suites/desk/app.yaml", "table.yaml", "../../README.md")
    with pytest.raises(UsageError, match="functions and data live in the suite folder"):
        digest(project)


@pytest.mark.parametrize(("more", "pinned"), [("", False), ("digest_header: x-build", True)])
def test_service_without_a_digest_is_unpinned(tmp_path: Path, more: str, pinned: bool) -> None:
    """An http step pins its app only when the service states its build."""
    project = make_project(tmp_path, count=4, files={"suites/desk/app.yaml": http_app("http://127.0.0.1:9", more)})
    assert load_repository(project.root).apps["desk"].pinned is pinned


def test_gate_takes_the_step_of_its_check(project: Project) -> None:
    """A gate on a metric of a step need not repeat the step."""
    project.write({"suites/desk/suite.yaml": SUITE.replace("expect: label", "expect: label, step: sort")})
    assert {gate.step for gate in load_repository(project.root).suites["desk"].gates} == {"sort"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"suites/desk/gates.yaml": GATES.replace("id: no-worse", "id: level")}, "gate id 'level' stands twice"),
        ({"suites/desk/gates.yaml": GATES.replace("threshold: 0.8", "threshold: 0.8, slice: rude")}, "slice 'rude'"),
        ({"suites/desk/suite.yaml": SUITE.replace("expect: label", "expect: label, step: sart")}, "the app has sort"),
        ({"suites/desk/app.yaml": APP.replace("name: desk", "name: desks")}, "the folder is 'desk'; make them equal"),
        ({"suites/other/app.yaml": APP.replace("desk", "other", 1)}, "suites/other/suite.yaml: no such file"),
        ({**LLM_FILES, "prompts/desk/sort/1.0.0.prompty": PROMPT.replace("message", "text")}, "declares text"),
        ({**LLM_FILES, "prompts/desk/sort/1.0.0.prompty": PROMPT.replace("1.0.0", "1.0.1")}, "make them equal"),
    ],
)
def test_files_must_agree(project: Project, files: dict[str, str], said: str) -> None:
    """What one file says of another must be true, and the message says what there is."""
    project.write(files)
    with pytest.raises(UsageError) as raised:
        load_repository(project.root)
    assert said in str(raised.value)


def test_suite_s_digest_is_the_yardstick(project: Project) -> None:
    """Cases, gates and checks belong to the suite's digest, to which approvals are bound."""
    before = load_repository(project.root).suites["desk"].digest
    project.edit("suites/desk/cases/all.jsonl", "socks", "shoes")
    assert load_repository(project.root).suites["desk"].digest != before
