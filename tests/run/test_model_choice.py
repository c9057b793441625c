"""Candidates of a step asked through endpoints: quality, differences, what is left out, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from harness.cli import main
from harness.stats import paired_mean, wilson
from tests.run.project import Project, Stub, reply, serving
from tests.run.ruled import APP, MODEL, RULES, answered, cases, ruled_project

PLAIN = APP.replace(f"    prompt:\n{RULES}      else: desk/sort/1.0.0\n", "    prompt: desk/sort/1.0.0\n")
PLAIN = PLAIN.replace(", tier: inputs.tier}", "}")
FILE = "suites/desk/candidates.yaml"
CANDIDATES = """\
step: sort
metric: right
candidates:
  - {id: plain}
  - {id: careful, prompt: desk/sort/1.1.0}
  - {id: wrong, model: stubborn, description: it always says the same}
"""
PRICED = MODEL + "price: {{input_per_million: 10, output_per_million: 20, currency: EUR}}\n"


def stubborn(_: Any) -> Any:
    """A model that says 'other' whatever it is asked."""
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    return reply({"choices": [{"message": {"content": "other"}, "finish_reason": "stop"}], "usage": usage})


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stub, Stub]]:
    """The model of the app, and the stubborn one."""
    with answered(monkeypatch) as stub, serving(stubborn) as other:
        yield stub, other


@pytest.fixture
def project(tmp_path: Path, answering: tuple[Stub, Stub]) -> Project:
    """60 cases: the first candidate gets 54 right, the second 60, the third 30."""
    first, second = answering
    files = {
        "suites/desk/app.yaml": PLAIN,
        FILE: CANDIDATES,
        "models/stubborn/model.yaml": PRICED.format(url=second.url).replace("name: remote", "name: stubborn"),
    }
    return ruled_project(tmp_path, first.url, cases(60), **files)


def run(project: Project, *args: str) -> int:
    """The command's exit code."""
    return main(["models", "compare", "--app", "desk", *args, "--root", str(project.root)])


def compared(project: Project, capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The comparison as JSON."""
    assert run(project, *args, "--json") == code
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found


def by_id(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The candidates by their names."""
    return {record["id"]: record for record in found["candidates"]}


def test_numbers_are_those_of_the_gates_methods(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Quality has Wilson's two-sided 95 % interval, the difference that of the paired method on the same cases."""
    found = by_id(compared(project, capsys))
    low, high = wilson(54, 60, 0.975)
    quality = found["plain"]["quality"]
    assert (quality["estimate"], quality["low"], quality["high"]) == pytest.approx((0.9, float(low), float(high)))
    gains = np.array([float(number % 5 == 1 and number % 2 == 1) for number in range(60)])
    wanted = paired_mean(gains, None, extent=1.0)
    difference = found["careful"]["difference"]
    assert difference["estimate"] == pytest.approx(0.1)
    assert (difference["low"], difference["high"]) == pytest.approx(
        (float(wanted.low(0.975)), float(wanted.high(0.975)))
    )
    assert found["plain"]["difference"] is None


def test_best_group_holds_what_is_not_told_apart(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Six of 60 told apart by no gate at this level stay together; 30 of 60 do not, and no winner is claimed."""
    found = compared(project, capsys)
    groups = {name: record["group"] for name, record in by_id(found).items()}
    p = float(paired_mean(np.array([1.0] * 6 + [0.0] * 54), None, extent=1.0).low(1 - 0.05 / 2))
    assert groups == {"careful": 1, "plain": 1 if p <= 0 else 2, "wrong": 2 if p <= 0 else 3}
    assert run(project) == 0
    said = capsys.readouterr().out
    assert ("is the best of these" in said) == (p > 0)


def test_tokens_cost_and_what_nobody_knows(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Cost follows from the file's prices and the tokens of the step; of an endpoint memory and size are unknown."""
    found = by_id(compared(project, capsys))
    wrong = found["wrong"]
    assert (wrong["tokens_in"], wrong["tokens_out"]) == (100, 50)
    assert wrong["cost"] == {"per_1000_cases": pytest.approx((100 * 10 + 50 * 20) / 1000), "currency": "EUR"}
    assert found["plain"]["cost"] is None
    assert (wrong["memory_bytes"], wrong["base_bytes"], wrong["endpoint"]) == (None, None, True)
    assert (wrong["build_seconds"], wrong["adapter_bytes"], wrong["method"]) == (0.0, 0, "not tuned")


def test_times_are_never_taken_from_the_cache(
    project: Project, answering: tuple[Stub, Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    """A second comparison asks nothing for the quality, and every timed question anew, one at a time."""
    first = compared(project, capsys, "--latency-cases", "5")
    assert sum(record["model_calls"] for record in first["candidates"]) == 180
    before = [len(stub.asked) for stub in answering]
    answering[0].most_at_once = 0
    second = compared(project, capsys, "--latency-cases", "5")
    assert sum(record["model_calls"] for record in second["candidates"]) == 0
    # Two candidates ask the first stub: a question that does not count, and five that do.
    assert [len(stub.asked) - was for stub, was in zip(answering, before, strict=True)] == [12, 6]
    assert answering[0].most_at_once == 1
    assert {record["latency"]["n"] for record in second["candidates"]} == {5}


def test_run_folder_is_whole(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The page, the data and the rows lie in a run folder; rows name app and candidate."""
    found = compared(project, capsys, "--latency-cases", "3")
    folder = Path(found["run"])
    assert project.file("run.json")["complete"] is True
    assert project.file("models.json")["candidates"] == found["candidates"]
    rows = project.rows("measurements/models.jsonl")
    quality = [row for row in rows if row["metric"] == "right"]
    assert {row["app"] for row in quality} == {"desk@plain", "desk@careful", "desk@wrong"}
    assert len(quality) == 180 and len(rows) == 180 + 9
    page = (folder / "models.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "it always says the same" in page
    assert project.git("status", "--porcelain") == ""


def test_no_timing_on_request(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without timed cases there is no latency and no drawing, and both outputs say so."""
    found = compared(project, capsys, "--latency-cases", "0")
    assert {record["latency"] for record in found["candidates"]} == {None}
    assert "<svg" not in (Path(found["run"]) / "models.html").read_text(encoding="utf-8")
    assert run(project, "--latency-cases", "0") == 0
    assert "Latency and memory were not measured." in capsys.readouterr().out


def test_chosen_candidates_only(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``--candidate`` leaves the others out; the first that is left is what the others are compared with."""
    found = compared(project, capsys, "--candidate", "careful", "--candidate", "wrong")
    assert (set(by_id(found)), found["reference"]) == ({"careful", "wrong"}, "careful")
    assert by_id(found)["wrong"]["difference"]["estimate"] == pytest.approx(-0.5)


def test_what_cannot_be_measured_leaves_the_others(
    project: Project, answering: tuple[Stub, Stub], capsys: pytest.CaptureFixture[str]
) -> None:
    """An endpoint that is gone, and an adapter that nobody built, are named; the rest is compared; exit code 3."""
    project.write({
        "models/gone/model.yaml": MODEL.format(url="http://127.0.0.1:9").replace("name: remote", "name: gone"),
        "models/here/model.yaml": MODEL.format(url=answering[0].url).replace("name: remote", "name: here")
        + 'adapters: {"tone/1.0.0": tone}\n',
    })  # fmt: skip
    more = "  - {id: away, model: gone}\n  - {id: toned, model: here, adapter: tune/1.0.0}\n"
    project.edit(FILE, "  - {id: wrong", more + "  - {id: wrong")
    found = compared(project, capsys, code=3)
    assert set(by_id(found)) == {"plain", "careful", "wrong"}
    lost = {each["id"]: each for each in found["not_measured"]}
    assert lost["away"]["broken"] and "127.0.0.1:9" in lost["away"]["reason"]
    assert not lost["toned"]["broken"]
    assert lost["toned"]["reason"] == "model 'here' names no adapter 'tune/1.0.0'; it names: tone/1.0.0"
    assert run(project) == 3
    assert "not measured: away:" in capsys.readouterr().out


def test_one_candidate_is_no_comparison(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Two must be asked for, and two must be measured, or the command gives the reasons."""
    assert run(project, "--candidate", "plain") == 64
    assert "one candidate leaves nothing to compare" in capsys.readouterr().err
    project.edit(FILE, "desk/sort/1.1.0", "desk/sort/1.2.0")
    assert run(project, "--candidate", "plain", "--candidate", "careful") == 64
    said = capsys.readouterr().err
    assert "1 of 2 candidates could be measured, two are needed; careful: " in said
    assert "does not bind input 'tier'" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--candidate", "best"],
            "no candidate 'best' in suites/desk/candidates.yaml; there are: plain, careful, wrong",
        ),
        (["--latency-cases", "-1"], "--latency-cases is -1; it must be 0 to 10000"),
    ],
)
def test_unusable_options(project: Project, capsys: pytest.CaptureFixture[str], args: list[str], said: str) -> None:
    """A mistake on the command line is said before anything is asked."""
    assert run(project, *args) == 64
    assert said in capsys.readouterr().err
    assert not project.runs


def test_app_without_candidates(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the file that is missing."""
    (project.root / FILE).unlink()
    assert run(project) == 64
    assert "app 'desk' has no suites/desk/candidates.yaml" in capsys.readouterr().err


def test_prompt_that_misses_an_input(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that needs what the step does not bind is left out with that reason."""
    project.edit(FILE, "  - {id: wrong", "  - {id: tiered, prompt: desk/sort/1.2.0}\n  - {id: wrong")
    (lost,) = compared(project, capsys)["not_measured"]
    assert (lost["id"], lost["broken"]) == ("tiered", False)
    assert "does not bind input 'tier', which prompt desk/sort/1.2.0 requires" in lost["reason"]


def test_gates_do_not_see_the_file(project: Project) -> None:
    """Adding or changing candidates moves no yardstick and asks nothing anew."""
    assert project.run("gate") in (0, 2)
    before = project.file("run.json")["yardstick"]
    project.edit(FILE, "  - {id: plain}\n", "  - {id: plain, description: as it is}\n")
    project.run("gate")
    assert project.file("run.json")["yardstick"] == before
