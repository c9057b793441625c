"""The stage evals end to end over a repository of the test's own and a judge endpoint on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.evals.judges.endpoint import JudgeEndpoint, judge_files, judging, suite_with
from tests.run.project import ALWAYS_OTHER, GATES, REWORDED, Project, make_project

NICE = "{id: nice, check: judge/nice, with: {cases: 12}}"
ROWS = "measurements/evals.jsonl"
TOLD = "artifacts/evals/judgements.jsonl"
NO_WORSE = "  - {id: nice-no-worse, metric: nice, rule: no_worse_than_baseline_by, threshold: 0.1, required: %s}\n"


def likes_refunds(shown: dict[str, str]) -> dict[str, float]:
    """A judge that knows what is right: "refund" for what is about money."""
    right = ("refund" in shown["output"]) == ("money" in shown["input"])
    return {"Yes": 0.9, "No": 0.1} if right else {"Yes": 0.05, "No": 0.95}


def project_with(
    folder: Path, endpoint: JudgeEndpoint, check: str = NICE, gates: str = "", more: dict[str, str] | None = None,
    **judge: Any,
) -> Project:  # fmt: skip
    """A repository whose suite has the judge from its first commit."""
    files = judge_files(endpoint.url, **judge) | (more or {})
    files |= {"suites/desk/suite.yaml": suite_with(check), "suites/desk/gates.yaml": GATES + gates}
    return make_project(folder, files=files)


def values(project: Project, variant: str = "candidate", metric: str = "nice") -> list[float | None]:
    """The values of one metric of one arm."""
    return [row["value"] for row in project.rows(ROWS) if row["variant"] == variant and row["metric"] == metric]


def test_a_planted_regression_is_an_advisory_finding(tmp_path: Path) -> None:
    """Plainly worse answers fail the advisory gate in verdict.json and report, and do not decide the verdict alone."""
    with judging(likes_refunds) as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "60"), NO_WORSE % "true")
        project.branch()
        project.write({"suites/desk/desk.py": ALWAYS_OTHER})
        project.run("gate")
    gate = project.gate_named("nice-no-worse")
    assert (gate["verdict"], gate["required"], gate["stage"]) == ("fail", False, "evals")
    assert gate["estimate"] == pytest.approx(-0.425, abs=0.01)
    assert "nice" in (project.runs[-1] / "report.html").read_text()
    assert "nice-no-worse" in (project.runs[-1] / "summary.md").read_text()
    found = next(stage for stage in project.file("run.json")["stages"] if stage["name"] == "evals")["found"]
    assert found[0].startswith("desk/nice: 0.4") and "baseline 0.90" in found[0]
    assert "advisory" in found[0]


def test_nothing_changed_asks_one_arm_and_a_second_run_nobody(tmp_path: Path) -> None:
    """Scores are kept by check, output and judge: the same outputs are not judged twice."""
    with judging(likes_refunds) as endpoint:
        project = project_with(tmp_path, endpoint)
        project.branch()
        assert project.run("measure", "evals") == 0
        assert {row["variant"] for row in project.rows(ROWS)} == {"candidate"}
        first, asked = values(project), len(endpoint.questions)
        # Two different answers to sixty messages, but each message is another question.
        assert asked == 12
        assert project.run("measure", "evals") == 0
        assert (values(project), len(endpoint.questions)) == (first, asked)
        assert all(row["cached"] for row in project.rows(ROWS))
        project.edit("suites/desk/judges/nice/judge.yaml", '"deadline_s":20', '"longest":5000')
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 2 * asked


def test_rows_say_by_whom_they_were_judged(tmp_path: Path) -> None:
    """Digests of check, judge and output stand in each row, prompt and reply in the artifacts."""
    with judging(likes_refunds) as endpoint:
        project = project_with(tmp_path, endpoint)
        assert project.run("measure", "evals") == 0
    row = project.rows(ROWS)[0]
    assert all(len(row[name]) == 64 for name in ("check_digest", "judge_digest", "output_digest", "app_digest"))
    told = project.rows(TOLD)[0]
    assert told["read_by"] == "logprobs"
    assert told["probabilities"]["Yes"] == pytest.approx(told["scores"]["nice"])
    assert "<<<output" in told["prompt"][-1][1]


def test_the_sample_is_steady(tmp_path: Path) -> None:
    """More cases in the suite leave most of the sample as it was; another profile takes more."""
    with judging(likes_refunds) as endpoint:
        check = "{id: nice, check: judge/nice, slices: [money], with: {cases: {pr: 5, nightly: 9}}}"
        project = project_with(tmp_path, endpoint, check)
        assert project.run("measure", "evals") == 0
        few = {row["case"] for row in project.rows(ROWS)}
        assert project.run("measure", "evals", "--profile", "nightly") == 0
        many = {row["case"] for row in project.rows(ROWS)}
    assert (len(few), len(many)) == (5, 9)
    assert few < many
    assert {slice_ for row in project.rows(ROWS) for slice_ in row["slices"]} == {"money"}


def test_rubric_is_the_expectation(tmp_path: Path) -> None:
    """Half on 3 and half on 5 of 1 to 5 is 0.75."""
    with judging(lambda _: {"5": 0.5, "3": 0.5}) as endpoint:
        project = project_with(tmp_path, endpoint, kind="rubric")
        assert project.run("measure", "evals") == 0
    assert values(project) == pytest.approx([0.75] * 12)


def prefers(shown: dict[str, str]) -> dict[str, float]:
    """A judge that prefers the right answer, wherever it stands, and the first of two equal ones."""
    right = "refund" if "money" in shown["input"] else "other"
    first = shown["first"] == right or shown["second"] != right
    return {"A": 0.8, "B": 0.2} if first else {"A": 0.2, "B": 0.8}


def test_pairwise_asks_both_orders(tmp_path: Path) -> None:
    """The better arm wins in both orders; equal answers are a tie whose flip is reported as position bias."""
    gates = "  - {id: preferred, metric: nice, rule: at_least, threshold: 0.4, required: false}\n"
    with judging(prefers) as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "60"), gates, kind="pairwise")
        project.branch()
        assert project.run("gate") == 0
        assert (project.gate_named("preferred")["verdict"]) == "not_applicable"
        project.write({"suites/desk/desk.py": ALWAYS_OTHER})
        project.run("gate")
        assert len(endpoint.questions) == 2 * 60
    assert {row["variant"] for row in project.rows(ROWS)} == {"candidate"}
    by_slice = {row["case"]: row["value"] for row in project.rows(ROWS) if row["metric"] == "nice"}
    assert sorted(by_slice.values()) == [0.0] * 30 + [0.5] * 30
    assert sum(v or 0 for v in values(project, metric="nice.flipped")) == 30
    assert project.gate_named("preferred")["verdict"] == "fail"


def test_without_logprobs_words_are_read(tmp_path: Path) -> None:
    """An endpoint that sends no log-probabilities is read by its last verdict."""
    say = "At first sight VERDICT: yes, but then again.\nVERDICT: No."
    with judging(lambda _: say, "logprobs", "top_logprobs") as endpoint:
        project = project_with(tmp_path, endpoint)
        assert project.run("measure", "evals") == 0
    assert values(project) == [0.0] * 12
    assert project.rows(TOLD)[0]["read_by"] == "text"
    assert not any(question.get("logprobs") for question in endpoint.questions)


def test_nonsense_is_unscored_and_asked_once(tmp_path: Path) -> None:
    """A reply that is no verdict is neither yes nor no, and says what was replied."""
    with judging(lambda _: "I had rather talk about the weather.") as endpoint:
        project = project_with(tmp_path, endpoint)
        assert project.run("measure", "evals") == 0
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 12
    assert {row["status"] for row in project.rows(ROWS)} == {"unscored"}
    assert "talk about the weather" in project.rows(ROWS)[0]["reason"]


def test_an_endpoint_that_is_down_ends_the_stage(tmp_path: Path) -> None:
    """Eight failures in a row break the stage; the other stage's rows and gates stand, the exit code is 3."""
    with judging(likes_refunds) as endpoint:
        project = project_with(tmp_path, endpoint)
    project.branch()
    project.write({"suites/desk/desk.py": REWORDED})
    assert project.run("gate", "--skip", "load", "--skip", "safety") == 3
    (stage,) = [each for each in project.file("run.json")["stages"] if each["name"] == "evals"]
    assert stage["status"] == "broken"
    assert stage["reason"].startswith("8 judgements in a row failed: model 'remote' at http://127.0.0.1")
    assert {row["status"] for row in project.rows(ROWS)} == {"error"}
    assert project.gate_named("level")["verdict"] == "pass"


def test_finished_rows_are_kept_when_the_judge_goes_away(tmp_path: Path) -> None:
    """What was judged before the endpoint hung up stands in the table."""
    answered: list[int] = []

    def dying(shown: dict[str, str]) -> dict[str, float]:
        if len(answered) >= 20:
            raise ConnectionError
        answered.append(1)
        return likes_refunds(shown)

    with judging(dying) as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "60"), deadline_s=2)
        assert project.run("measure", "evals") == 3
    scored = [row for row in project.rows(ROWS) if row["status"] == "scored"]
    assert len(scored) == 20
    assert len(project.rows(ROWS)) == 60


def test_rate_limits_are_waited_for(tmp_path: Path) -> None:
    """A 429 with retry-after is asked again then; every row gets its score."""
    refused: set[str] = set()

    def busy(shown: dict[str, str]) -> Any:
        if shown["input"] not in refused:
            refused.add(shown["input"])
            return 429, b'{"error": {"message": "slow down"}}', {"retry-after-ms": "30"}
        return likes_refunds(shown)

    with judging(busy) as endpoint:
        project = project_with(tmp_path, endpoint)
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 24
    assert None not in values(project)


def test_a_wait_beyond_the_deadline_is_an_error_at_once(tmp_path: Path) -> None:
    """An endpoint that asks to come back in an hour is not waited for; the row says so."""
    hour = (429, b'{"error": {"message": "quota"}}', {"retry-after": "3600"})
    with judging(lambda _: hour) as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "3"))
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 3
    rows = project.rows(ROWS)
    assert {row["status"] for row in rows} == {"error"}
    assert "come back in 3600 s, beyond the deadline of 20 s" in rows[0]["reason"]


def test_another_models_answer_is_no_score(tmp_path: Path) -> None:
    """An endpoint that answers as another model gives errors that name both."""
    with judging(likes_refunds, model="cheaper-one") as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "3"))
        assert project.run("measure", "evals") == 0
    assert {row["status"] for row in project.rows(ROWS)} == {"error"}
    assert "asked for 'made-up', answered by 'cheaper-one'" in project.rows(ROWS)[0]["reason"]


def test_dated_releases_are_the_same_model(tmp_path: Path) -> None:
    """Vendors answer with the dated name of what was asked for."""
    with judging(likes_refunds, model="made-up-2026-01-31") as endpoint:
        project = project_with(tmp_path, endpoint, NICE.replace("12", "3"))
        assert project.run("measure", "evals") == 0
    assert None not in values(project)


def test_a_failing_app_is_not_judged(tmp_path: Path) -> None:
    """An answer that does not exist is an error of the app, and the judge is not asked about it."""
    with judging(likes_refunds) as endpoint:
        broken = "def label(message):\n    raise ValueError('no')\n"
        project = project_with(tmp_path, endpoint, more={"suites/desk/desk.py": broken})
        assert project.run("measure", "evals") == 0
        assert endpoint.questions == []
    assert {row["status"] for row in project.rows(ROWS)} == {"error"}


@pytest.mark.parametrize("output", ["''", "'   '"])
def test_empty_output_is_unscored(tmp_path: Path, output: str) -> None:
    """There is nothing to judge in nothing, and no judge is asked."""
    with judging(likes_refunds) as endpoint:
        code = f"def label(message):\n    return {output}\n"
        project = project_with(tmp_path, endpoint, more={"suites/desk/desk.py": code})
        assert project.run("measure", "evals") == 0
        assert endpoint.questions == []
    assert {(row["status"], row["reason"]) for row in project.rows(ROWS)} == {
        ("unscored", "the output is empty: there is nothing to judge")
    }
