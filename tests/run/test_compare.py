"""Two versions of a prompt measured against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from harness.stats import paired_mean
from tests.run.project import GATES, Project, Stub
from tests.run.ruled import APP, RULES, answered, cases, prompt, ruled_project

PLAIN = APP.replace(f"    prompt:\n{RULES}      else: desk/sort/1.0.0\n", "    prompt: desk/sort/1.0.0\n")
PLAIN = PLAIN.replace(", tier: inputs.tier}", "}")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The model of the ruled app."""
    with answered(monkeypatch) as stub:
        yield stub


@pytest.fixture
def project(tmp_path: Path, answering: Stub) -> Project:
    """The app with one plain version, 60 cases, of which version 1.0.0 gets six wrong and 1.1.0 none."""
    return ruled_project(tmp_path, answering.url, cases(60), **{"suites/desk/app.yaml": PLAIN})


def compared(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    """The comparison as JSON."""
    assert run(project, *args, "--json") == 0
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found


def run(project: Project, *args: str) -> int:
    """The command's exit code."""
    from harness.cli import main

    return main(["prompts", "compare", *args, "--root", str(project.root)])


def test_difference_is_that_of_the_gate(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The estimate and its bounds are those of the paired method on the same cases."""
    found = compared(project, capsys, "desk/sort", "1.0.0", "1.1.0")
    (metric,) = found["metrics"]
    gains = np.array([float(number % 5 == 1 and number % 2 == 1) for number in range(60)])
    wanted = paired_mean(gains, None, extent=1.0)
    assert (metric["first"], metric["second"], metric["difference"]) == (0.9, 1.0, pytest.approx(0.1))
    assert metric["low"] == pytest.approx(float(wanted.low(0.95)))
    assert metric["high"] == pytest.approx(float(wanted.high(0.95)))
    assert (metric["n"], metric["changed"], metric["method"]) == (60, 6, wanted.method)
    assert (found["cases"], found["changed"], found["versions"]) == (60, 6, ["1.0.0", "1.1.0"])


def test_worst_cases_fell_furthest(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Three changed cases at most, those that fell first, with what each version said."""
    (metric,) = compared(project, capsys, "desk/sort", "1.1.0", "1.0.0")["metrics"]
    assert [case["case"] for case in metric["worst"]] == ["case-001", "case-011", "case-021"]
    assert metric["worst"][0] | {"case": ""} == {
        "case": "", "first": 1.0, "second": 0.0, "first_output": "refund", "second_output": "other",
    }  # fmt: skip
    assert metric["difference"] == pytest.approx(-0.1)


def test_gate_and_comparison_share_their_answers(
    project: Project, answering: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a gate or a comparison has asked is not asked again, in either direction."""
    project.branch()
    project.edit("suites/desk/app.yaml", "prompt: desk/sort/1.0.0", "prompt: desk/sort/1.1.0")
    project.run("gate")
    asked = len(answering.asked)
    capsys.readouterr()
    found = compared(project, capsys, "desk/sort", "1.0.0", "1.1.0")
    assert (len(answering.asked), found["model_calls"], found["cached_calls"]) == (asked, 0, 120)


def test_nothing_is_left_behind(project: Project) -> None:
    """A comparison makes no run folder and edits no file: the newest run stays the newest."""
    project.commit("as it is") if project.git("status", "--porcelain") else None
    assert run(project, "desk/sort", "1.0.0", "1.1.0") == 0
    assert project.git("status", "--porcelain") == ""
    assert not (project.root / "reports").exists()


def test_rules_are_set_aside(tmp_path: Path, answering: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a step that chooses, each version answers every case, and it is said."""
    project = ruled_project(tmp_path, answering.url)
    found = compared(project, capsys, "desk/sort", "1.0.0", "1.1.0")
    assert (found["unruled"], found["metrics"][0]["changed"]) == (["sort"], 6)
    assert run(project, "desk/sort", "1.0.0", "1.2.0") == 0
    said = capsys.readouterr().out
    assert "the rules of step sort are set aside" in said
    assert "answers differ in 0 of 60 cases" in said


def test_versions_are_given_what_they_read(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that misses an input of the step cannot be compared; one that ignores an input can."""
    assert run(project, "desk/sort", "1.0.0", "1.2.0") == 64
    assert "does not bind input 'tier', which prompt desk/sort/1.2.0 requires" in capsys.readouterr().err
    project.edit("suites/desk/app.yaml", "{message: inputs.message}", "{message: inputs.message, tier: inputs.tier}")
    project.edit("suites/desk/app.yaml", "prompt: desk/sort/1.0.0", "prompt: desk/sort/1.2.0")
    assert compared(project, capsys, "desk/sort", "1.0.0", "1.2.0")["metrics"][0]["n"] == 60


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("desk/sort", "1.0.0", "9.0.0"), "prompt desk/sort has no version 9.0.0; it has 1.2.0, 1.1.0, 1.0.0"),
        (("desk/sort", "8.0.0", "9.0.0"), "has no version 8.0.0 and no version 9.0.0"),
        (("desk/sort", "1.0.0", "1.0.0"), "1.0.0 is given twice"),
        (("desk/reply", "1.0.0", "1.1.0"), "no prompt 'desk/reply'; give APP/STEP, one of: desk/idle, desk/sort"),
        (("../desk/sort", "1.0.0", "1.1.0"), "no prompt '../desk/sort'"),
        (("desk/idle", "1.0.0", "1.1.0"), "no app uses prompt desk/idle"),
        (("desk/sort", "1.0.0", "1.1.0", "--app", "shop"), "app 'shop' has no step with prompt desk/sort; apps that"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(
    project: Project, args: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown versions, prompts and apps end with 64 and name what there is."""
    for version in ("1.0.0", "1.1.0"):
        text = prompt(version, "Do nothing about {{ message }}", "message").replace("name: sort", "name: idle")
        project.write({f"prompts/desk/idle/{version}.prompty": text})
    assert run(project, *args) == 64
    assert said in capsys.readouterr().err


def test_app_must_be_named_where_several_use_the_prompt(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Which app's cases are asked is never guessed."""
    for name in ("app.yaml", "suite.yaml", "gates.yaml", "cases/all.jsonl"):
        text = (project.root / "suites/desk" / name).read_text(encoding="utf-8")
        project.write({f"suites/shop/{name}": text.replace("name: desk", "name: shop")})
    assert run(project, "desk/sort", "1.0.0", "1.1.0") == 64
    assert "several apps use prompt desk/sort; give --app, one of: desk, shop" in capsys.readouterr().err
    assert compared(project, capsys, "desk/sort", "1.0.0", "1.1.0", "--app", "shop")["app"] == "shop"


def test_dead_model_is_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without answers there is no difference to print."""
    project = ruled_project(tmp_path, "http://127.0.0.1:9", cases(20), **{"suites/desk/app.yaml": PLAIN})
    assert run(project, "desk/sort", "1.0.0", "1.1.0") == 3
    assert "the comparison broke off" in capsys.readouterr().err


def test_times_are_compared_by_the_gate_s_quantile(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A metric whose gate looks at a quantile is compared by it, with lower as better."""
    project.edit("suites/desk/suite.yaml", "checks:", "checks:\n  - {id: cost, check: tokens}")
    quantile = "statistic: quantile, quantile: 0.9, minimum: 0, maximum: null}"
    project.write({
        "suites/desk/gates.yaml": GATES + f"  - {{id: cheap, metric: cost, rule: at_most, threshold: 9, {quantile}\n"
    })  # fmt: skip
    cost = next(m for m in compared(project, capsys, "desk/sort", "1.0.0", "1.1.0")["metrics"] if m["metric"] == "cost")
    assert (cost["statistic"], cost["better"], cost["n"]) == ("0.9", "lower", 60)
