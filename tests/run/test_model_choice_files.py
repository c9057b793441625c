"""``candidates.yaml`` as a closed world, ``task:`` and the checks that are proposed for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.errors import UsageError
from harness.evals.checks import catalogue
from harness.run.proposals import FITTING, proposals
from harness.spec.apps import Task
from harness.spec.candidates import Candidates
from harness.spec.repository import load_repository
from tests.run.project import ROOT, Project
from tests.run.tiny_choice import APP, CANDIDATES, SUITE, TRAINED, choice_project

FILE = "suites/desk/candidates.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The repository over the tiny model, whose bytes nobody needs here."""
    return choice_project(tmp_path, tmp_path / "cache", CANDIDATES + TRAINED)


def problems(project: Project) -> str:
    """Everything that is wrong with the tree."""
    with pytest.raises(UsageError) as found:
        load_repository(project.root)
    return str(found.value)


def test_the_file_is_read(project: Project) -> None:
    """Its candidates stand in their order; only what is given replaces a field."""
    found = load_repository(project.root).suites["desk"].candidates
    assert found is not None
    assert [each.id for each in found.candidates] == ["bare", "wordy", "other-base", "lora-2", "ia3"]
    assert [each.fields for each in found.candidates[:3]] == [{}, {"prompt": "desk/sort/1.1.0"}, {"model": "other"}]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("step: sort", "step: shout", f"{FILE}:1: no model step 'shout' in app 'desk'; its model steps: sort"),
        ("metric: right", "metric: wrong", "'wrong' is no check of the suite; checks that can rank candidates: right"),
        ("slices: [money]", "slices: [cash]", f"{FILE}:3: slice 'cash' is not declared in suite.yaml: money"),
        ("model: other}", "model: huge}", f"{FILE}:7: candidate 'other-base': no model 'huge'; there are: other, tiny"),
        ("sort/1.1.0", "sort/9.0.0", "no prompt 'desk/sort/9.0.0'; there are: desk/sort/1.0.0, desk/sort/1.1.0"),
        ("name: sorter, method: {rank: 2}", "name: solver", "no recipe 'solver'; there are: sorter"),
        ("{rank: 2}", "{rang: 2}", "candidate 'lora-2': unknown key 'method.rang'"),
        ("{rank: 2}", "{rank: 0}", "method.rank: Input should be greater than or equal to 1, found 0"),
        ("{id: wordy,", "{id: bare,", "id 'bare' stands twice"),
        ("{id: wordy,", "{id: wordy, temprature: 1,", "unknown key 'candidates.1.temprature'"),
        ("model: other}", "model: null}", "'model' is null; leave it out to keep the step's own"),
        ("{id: ia3, recipe", "{id: ia3, model: tiny, recipe", "a recipe names its base and makes the adapter"),
        ("{id: wordy,", "{id: ../../x,", "candidates.1.id: String should match pattern"),
        ("metric: right", "metric: right\nmetric: right", "duplicate key 'metric'"),
        ("{id: bare, description: as it is}", "&a {id: bare}", "anchors and aliases are not allowed"),
    ],
)
def test_mistakes_are_named_with_their_line(project: Project, old: str, new: str, said: str) -> None:
    """Each mistake is an error of the tree, before anything runs."""
    project.edit(FILE, old, new)
    assert said in problems(project)


def test_the_example_of_the_documentation_is_valid() -> None:
    """docs/models.md shows a file that can be used as it stands."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/models.md").read_text(encoding="utf-8"), re.DOTALL)
    found = Candidates.model_validate(yaml.safe_load(text))
    assert len(found.candidates) > 4 and found.candidates[0].fields == {"adapter": None}


def test_all_mistakes_at_once(project: Project) -> None:
    """Several mistakes are told together."""
    project.edit(FILE, "metric: right", "metric: wrong")
    project.edit(FILE, "model: other", "model: huge")
    assert "'wrong' is no check" in problems(project) and "no model 'huge'" in problems(project)


def test_one_candidate_is_refused(project: Project) -> None:
    """There is nothing to compare."""
    project.write({FILE: "step: sort\nmetric: right\ncandidates:\n  - {id: bare}\n"})
    assert "1 candidates leave nothing to compare; give at least two" in problems(project)


def test_task_is_no_part_of_the_digest(project: Project) -> None:
    """It is a description: evidence stays good when it is added."""
    with_task = load_repository(project.root).apps["desk"].digest
    project.edit("suites/desk/app.yaml", "    task: classification\n", "")
    assert load_repository(project.root).apps["desk"].digest == with_task


def test_prices_and_training_data_are_no_part_of_the_digest(project: Project) -> None:
    """They say nothing of the bytes."""
    before = load_repository(project.root).models["tiny"].digest
    project.edit("models/tiny/model.yaml", 'training_data: ["random numbers"]\n', "")
    project.edit("models/tiny/model.yaml", "currency: EUR", "currency: USD")
    assert load_repository(project.root).models["tiny"].digest == before


@pytest.mark.parametrize("task", FITTING)
def test_proposed_checks_exist(task: Task) -> None:
    """Every proposed check is one that a suite can use."""
    assert set(FITTING[task]) - {"judge/<name>"} <= set(catalogue())


def test_a_step_without_a_fitting_check_gets_proposals(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A classification that only a length is asked of is named, with checks that would fit; with one it is silent."""
    assert proposals(load_repository(project.root)) == []
    project.edit("suites/desk/suite.yaml", SUITE.splitlines()[-1], "  - {id: right, check: length, step: sort}")
    (said,) = proposals(load_repository(project.root))
    assert said.startswith("desk: step 'sort' does classification, and no check that fits looks at its output")
    assert "label_match" in said
    project.edit("suites/desk/app.yaml", "    task: classification\n", "")
    assert proposals(load_repository(project.root)) == []


def test_check_tells_the_proposals(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``signoff check`` warns of it and stays green."""
    project.edit("suites/desk/app.yaml", APP.split("task: ")[1].split("\n")[0], "summarisation")
    assert project.run("check") == 0
    assert "warning: desk: step 'sort' does summarisation, and no check that fits" in capsys.readouterr().out
