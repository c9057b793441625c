"""Judge cards: what labels of people say of a judge, and that nothing rests on a judge without them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.evals.judges.endpoint import JudgeEndpoint, judge_files, judging, suite_with
from tests.run.project import ALWAYS_OTHER, GATES, REWORDED, Project, make_project

REQUIRED = "  - {id: nice-level, metric: nice, rule: at_least, threshold: 0.8}\n"
FOLDER = "suites/desk/judges/nice"
TRUTH = 0.85


def by_length(shown: dict[str, str]) -> dict[str, float]:
    """A judge that says yes to texts of an even length: a test knows beforehand what it will say."""
    return {"Yes": 0.9, "No": 0.1} if len(shown["output"]) % 2 == 0 else {"Yes": 0.2, "No": 0.8}


def label_lines(count: int, wrong: int, by: str = "human", kind: str = "yes_no") -> str:
    """Labels of which the first ``wrong`` are not what the judge will say."""
    rows = []
    for number in range(count):
        even = number % 2 == 0
        said = even if number >= wrong else not even
        label = ("yes" if said else "no") if kind == "yes_no" else ("5" if said else "1")
        output = f"texts {number:04d}" + ("!" if not even else "")
        rows.append({"id": f"l{number}", "input": "q", "output": output, "label": label, "labeller": "dana", "by": by})
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


def labelled(folder: Path, endpoint: JudgeEndpoint, labels: str, code: str = REWORDED, **judge: object) -> Project:
    """A repository with a required gate over a labelled judge."""
    files = judge_files(endpoint.url, **judge)  # type: ignore[arg-type]
    files |= {
        "suites/desk/suite.yaml": suite_with("{id: nice, check: judge/nice, with: {cases: 60}}"),
        "suites/desk/gates.yaml": GATES + REQUIRED,
        f"{FOLDER}/labels.jsonl": labels,
        "suites/desk/desk.py": code,
    }
    return make_project(folder, files=files)


def card(project: Project) -> int:
    """Write the card."""
    return project.run("judge", *("card", "--app", "desk", "--judge", "nice"))


@pytest.fixture
def run_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Project.run`` puts the root behind the first word; ``judge card`` takes it behind the second."""
    from harness.cli import main

    def run(self: Project, command: str, *args: str) -> int:
        nested = [command, *args[:1], "--root", str(self.root), *args[1:]]
        return main(nested if command == "judge" else [command, "--root", str(self.root), *args])

    monkeypatch.setattr(Project, "run", run)


@pytest.mark.usefixtures("run_card")
def test_a_card_says_how_far_the_judge_agrees(tmp_path: Path) -> None:
    """Forty labels, six against the judge: agreement 0.85, kappa 0.70, no bias, and the rows of the confusion."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(40, 6))
        assert card(project) == 0
    found = orjson.loads((project.root / FOLDER / "card.json").read_bytes())["human"]
    assert (found["n"], found["agreement"], found["constant"]) == (40, TRUTH, 0.5)
    assert found["kappa"] == pytest.approx(0.7)
    assert found["low"] < 0.7 < found["high"]
    assert found["bias"] == pytest.approx(0.0)
    assert found["auc"] == pytest.approx(TRUTH)
    assert found["confusion"] == {"no": {"no": 17, "yes": 3}, "yes": {"no": 3, "yes": 17}}
    assert found["labellers"] == ["dana"]


@pytest.mark.usefixtures("run_card")
def test_labels_of_people_lift_the_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a card a required gate is advisory and check warns; with one it blocks."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(40, 6), ALWAYS_OTHER)
        assert project.run("check") == 0
        assert "gate 'nice-level' stays advisory whatever gates.yaml says; judge 'nice': no judge card" in (
            capsys.readouterr().out
        )
        project.run("gate")
        assert project.gate_named("nice-level")["required"] is False
        assert card(project) == 0
        assert project.run("gate") == 1
    gate = project.gate_named("nice-level")
    assert (gate["required"], gate["verdict"]) == (True, "fail")


@pytest.mark.usefixtures("run_card")
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (label_lines(40, 0, by="model"), "its card rests on 0 labels of people"),
        (label_lines(29, 0), "its card rests on 29 labels of people, at least 30"),
        (label_lines(40, 20), "its card does not show that it agrees with people beyond chance"),
    ],
    ids=["by a model", "too few", "no agreement"],
)
def test_what_does_not_lift_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, said: str) -> None:
    """Labels by a model are never people's, a handful proves nothing, and neither does a judge that guesses."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, labels)
        assert card(project) == 0
    assert f"stay advisory: {said}" in capsys.readouterr().out
    assert project.run("check") == 0
    assert said in capsys.readouterr().out


@pytest.mark.usefixtures("run_card")
@pytest.mark.parametrize("stale", ["judge", "labels"])
def test_a_stale_card_is_no_card(tmp_path: Path, capsys: pytest.CaptureFixture[str], stale: str) -> None:
    """Another judge or other labels than the card was made of: advisory again."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(40, 0))
        assert card(project) == 0
    assert "gates may rest on it" in capsys.readouterr().out
    if stale == "judge":
        project.edit(f"{FOLDER}/judge.yaml", '"deadline_s":20', '"answer_tokens":20')
    else:
        project.edit(f"{FOLDER}/labels.jsonl", '"label":"yes"', '"label":"no"')
    assert project.run("check") == 0
    assert "its card is stale" in capsys.readouterr().out


@pytest.mark.usefixtures("run_card")
def test_labels_by_case_hold_for_the_answer_that_was_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label by case and digest is used while the app answers so, and named as of no use when it does not."""
    import hashlib

    rows = [
        {"id": f"l{n}", "case": f"case-{n:03}", "label": "yes", "labeller": "dana", "by": "human",
         "output_digest": hashlib.sha256(text).hexdigest()}
        for n, text in ((0, b"other"), (2, b"something else"))
    ]  # fmt: skip
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, b"".join(orjson.dumps(row) + b"\n" for row in rows).decode())
        assert card(project) == 0
    told = capsys.readouterr().out
    assert "labels by people: 1 (0 unscored)" in told
    assert "label 'l2'" in told and "answered otherwise now" in told


@pytest.mark.usefixtures("run_card")
def test_a_rubric_is_weighed(tmp_path: Path) -> None:
    """Answers next to the label count more than those far from it."""
    with judging(lambda shown: {"4": 1.0} if len(shown["output"]) % 2 == 0 else {"1": 1.0}) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(40, 0, kind="rubric"), kind="rubric")
        assert card(project) == 0
    found = orjson.loads((project.root / FOLDER / "card.json").read_bytes())["human"]
    assert found["agreement"] == 0.5
    # Linear weights: an answer of 4 for 5 is three quarters right.
    assert found["kappa"] == pytest.approx((0.875 - 0.5) / (1 - 0.5))
    assert found["auc"] is None
    assert found["bias"] == pytest.approx(-0.125)


@pytest.mark.usefixtures("run_card")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a", "output": "x", "label": "maybe", "labeller": "d", "by": "human"}', "labelled by no, yes"),
        ('{"id": "a", "output": "x", "label": "yes", "labeller": "d", "by": "robot"}', "labels.jsonl:1"),
        ('{"id": "a", "label": "yes", "labeller": "d", "by": "human"}', "give either 'output', or 'case'"),
        ("{", "not JSON"),
    ],
)
def test_wrong_labels_are_named_with_their_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    """check reads labels.jsonl too."""
    project = labelled(tmp_path, JudgeEndpoint(by_length, url="http://127.0.0.1:1/v1"), line + "\n")
    assert project.run("check") == 64
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("run_card")
def test_no_card_of_half_the_labels(tmp_path: Path) -> None:
    """A judge that cannot be asked ends the command with 3 and leaves the old card."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(3, 0), deadline_s=1)
    assert card(project) == 3
    assert not (project.root / FOLDER / "card.json").exists()


@pytest.mark.usefixtures("run_card")
def test_dropping_a_card_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change that takes a judge's card away loosens the gate over it, which needs an approval."""
    with judging(by_length) as endpoint:
        project = labelled(tmp_path, endpoint, label_lines(40, 0), ALWAYS_OTHER)
        assert card(project) == 0
        project.commit("card")
        project.branch()
        (project.root / FOLDER / "card.json").unlink()
        capsys.readouterr()
        assert project.run("check") == 0
        told = capsys.readouterr().out
    assert "the yardstick moved (looser, needs an approval): gate nice-level: required yes -> no" in told
