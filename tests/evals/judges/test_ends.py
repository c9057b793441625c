"""Runs that end early, keys that are missing, and the real model as a judge."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from harness.evals.judges import sampled
from tests.conftest import USER_CACHE
from tests.evals.judges.endpoint import judge_files, judging, suite_with
from tests.run.project import GATES, ROOT, interrupt, make_project, wait_for

ROWS = "measurements/evals.jsonl"
TOLD = "artifacts/evals/judgements.jsonl"
ALL = "{id: nice, check: judge/nice, with: {cases: 60}}"


def files(url: str, suite: str, **judge: Any) -> dict[str, str]:
    """The judge and the suite that asks it."""
    return judge_files(url, **judge) | {"suites/desk/suite.yaml": suite, "suites/desk/gates.yaml": GATES}


def test_an_interrupted_stage_keeps_its_scores(tmp_path: Path) -> None:
    """Interrupted once, the stage ends as broken; the next run asks only what had not been judged."""
    slow: list[bool] = [True]

    def say(_: dict[str, str]) -> dict[str, float]:
        time.sleep(0.15 if slow[0] else 0.0)
        return {"Yes": 0.7, "No": 0.3}

    with judging(say) as endpoint:
        project = make_project(tmp_path, files=files(endpoint.url, "concurrency: 2\n" + suite_with(ALL)))
        process = project.start("measure", "evals")
        wait_for(lambda: len(endpoint.questions) >= 6)
        code, _, said = interrupt(process)
        assert (code, "Traceback" in said) == (3, False)
        (stage,) = [each for each in project.file("run.json")["stages"] if each["name"] == "evals"]
        assert (stage["status"], stage["reason"]) == ("broken", "interrupted")
        rows = project.rows(ROWS)
        kept = [row for row in rows if row["status"] == "scored"]
        assert len(rows) == 60 and 4 <= len(kept) < 60
        slow[0] = False
        asked = len(endpoint.questions)
        process = project.start("measure", "evals")
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert len(endpoint.questions) - asked == 60 - len(kept)


def test_a_key_that_is_not_set_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be judged until the environment is mended: exit code 64, and the variable's name."""
    monkeypatch.delenv("JUDGES_KEY", raising=False)
    with judging(lambda _: "Yes") as endpoint:
        project = make_project(tmp_path, files=files(endpoint.url, suite_with(ALL)))
        project.edit("models/remote/model.yaml", '"licence"', '"api_key_env":"JUDGES_KEY","licence"')
        assert project.run("measure", "evals") == 64
        assert endpoint.questions == []
    assert "environment variable JUDGES_KEY, which is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("judge.yaml", '"prompt":"1.0.0"', '"prompt":"2.0.0"', "no 2.0.0.prompty beside judge.yaml; there are: 1.0.0"),
        ("judge.yaml", '"model":"remote"', '"model":"nobody"', "no model 'nobody'; there are: remote"),
        ("judge.yaml", '"kind":"yes_no"', '"kind":"pairwise"', "a pairwise judge must declare input 'first'"),
        ("judge.yaml", '"deadline_s":20', '"scores":[5,1]', "scores [5, 1] must rise, each once"),
        ("judge.yaml", '"deadline_s":20', '"scores":[1,10]', "less than or equal to 9"),
        ("1.0.0.prompty", "{{ input }}", "{{ message }}", "variable 'message' is used but not declared"),
        ("1.0.0.prompty", "input: {kind", "message: {kind", "a yes_no judge is given context, expected, input, output"),
    ],
)  # fmt: skip
def test_wrong_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, old: str, new: str, said: str
) -> None:
    """check knows what a judge needs."""
    project = make_project(tmp_path, count=2, files=files("http://127.0.0.1:1/v1", suite_with(ALL)))
    shutil.rmtree(project.root / ".git")
    project.edit(f"suites/desk/judges/nice/{path}", old, new)
    assert project.run("check") == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("settings", ["{cases: 0}", "{cases: {hourly: 3}}", "{limit: 3}", "{context: output}"])
def test_wrong_settings_of_a_check_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str) -> None:
    """A misspelt key or an impossible sample is found by check."""
    suite = suite_with(f"{{id: nice, check: judge/nice, with: {settings}}}")
    project = make_project(tmp_path, count=2, files=files("http://127.0.0.1:1/v1", suite))
    assert project.run("check") == 64
    assert "check 'nice': setting" in capsys.readouterr().err


def test_gates_that_too_few_judgements_can_never_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check counts the cases that are graded, not those of the suite."""
    gates = GATES + "  - {id: few, metric: nice, rule: at_least, threshold: 0.8, required: false}\n"
    suite = suite_with("{id: nice, check: judge/nice, with: {cases: 5}}")
    made = files("http://127.0.0.1:1/v1", suite) | {"suites/desk/gates.yaml": gates}
    project = make_project(tmp_path, files=made)
    assert project.run("check") == 0
    assert "gate 'few' has 5 cases and can never pass" in capsys.readouterr().out


def test_a_sample_changes_little_when_cases_are_added() -> None:
    """Of 20 out of 200, at most a few give way to 10 new ones; the order of the suite is kept."""
    names = [f"case-{number}" for number in range(200)]
    before = sampled(names, names, "7/nice", 20)
    more = [*names, *(f"new-{number}" for number in range(10))]
    after = sampled(more, more, "7/nice", 20)
    assert before == sorted(before, key=names.index)
    assert len(set(before) - set(after)) <= 4
    assert set(sampled(names, names, "8/nice", 20)) != set(before)
    assert sampled(names, names, "7/nice", 500) == names


LOCAL = """\
name: nice
kind: yes_no
prompt: 1.0.0
model: smollm2-135m
"""


@pytest.mark.slow
@pytest.mark.network
def test_the_real_model_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local model that no app uses is served to its judge, scores its options, and is asked once."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(USER_CACHE))
    made = files("http://127.0.0.1:1/v1", suite_with("{id: nice, check: judge/nice, with: {cases: 4}}"))
    made["suites/desk/judges/nice/judge.yaml"] = LOCAL
    made["models/smollm2-135m/model.yaml"] = (ROOT / "models/smollm2-135m/model.yaml").read_text()
    # Another question than ever before, because the cache of scores is the user's.
    made["suites/desk/judges/nice/1.0.0.prompty"] += f"Is that right? ({tmp_path}) Yes or No?\n"
    project = make_project(tmp_path, files=made)
    assert project.run("measure", "evals") == 0
    assert {row["status"] for row in project.rows(ROWS)} == {"scored"}
    assert all(0 < row["value"] < 1 for row in project.rows(ROWS))
    told = project.rows(TOLD)
    assert {each["read_by"] for each in told} == {"options"}
    assert all(sum(each["probabilities"].values()) == pytest.approx(1) for each in told)
    first = [row["value"] for row in project.rows(ROWS)]
    assert project.run("measure", "evals") == 0
    assert sorted(row["value"] for row in project.rows(ROWS)) == sorted(first)
    (stage,) = [each for each in project.file("run.json")["stages"] if each["name"] == "evals"]
    assert (stage["calls"], stage["cached"]) == (0, 4)
