"""deepeval's metrics as checks: by name, with their settings, asked of our endpoint, and written tests of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.evals.judges.endpoint import JudgeEndpoint, instance_of, judge_files, suite_with
from tests.run.project import GATES, ROOT, Project, Reply, make_project, reply, serving
from tests.serve.fake_endpoint import MODEL

pytest.importorskip("deepeval.metrics")
ROWS = "measurements/evals.jsonl"
TOLD = "artifacts/evals/judgements.jsonl"
GEVAL = {
    "id": "polite", "check": "deepeval/GEval",
    "with": {"model": "remote", "cases": 4, "threshold": 0.6, "evaluation_params": ["input", "actual_output"],
             "evaluation_steps": ["Look at the tone.", "Rude is bad."]},
}  # fmt: skip


class DeepevalEndpoint(JudgeEndpoint):
    """An endpoint that answers to deepeval's questions with JSON of the schema that came with them."""

    def __init__(self, fill: Any) -> None:
        super().__init__(lambda _: "")
        self.fill = fill

    def answer(self, body: Any) -> Reply:
        """Fill the schemas of deepeval; everything else belongs to the contract probe."""
        wanted = (body or {}).get("response_format", {})
        schema = wanted.get("json_schema", {}).get("schema", {})
        names = set(schema.get("properties", {}))
        if not names & {"score", "reason", "statements", "verdicts", "opinions"}:
            return super().answer(body)
        self.questions.append(body)
        made = self.fill(names, body["messages"][-1]["content"]) if self.fill else instance_of(body)
        text = made if isinstance(made, str) else orjson.dumps(made).decode()
        choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        return reply({"id": "d", "model": MODEL, "choices": [choice], "usage": usage})


def project_with(folder: Path, url: str, *checks: dict[str, Any], more: dict[str, str] | None = None) -> Project:
    """A repository whose suite has the checks and the endpoint as the model ``remote``."""
    files = judge_files(f"{url}/v1") | {"suites/desk/gates.yaml": GATES} | (more or {})
    files["suites/desk/suite.yaml"] = suite_with(*(orjson.dumps(check).decode() for check in checks))
    return make_project(folder, files=files)


def scoring(score: float) -> Any:
    """Answers to G-Eval's question."""
    return lambda _, __: {"reason": "as was asked", "score": score}


def test_a_metric_by_name(tmp_path: Path) -> None:
    """G-Eval asks the endpoint by its own prompt, with the suite's steps; 8 of 10 is 0.8 and passes 0.6."""
    endpoint = DeepevalEndpoint(scoring(8))
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, GEVAL)
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 4
        assert project.run("measure", "evals") == 0
        assert len(endpoint.questions) == 4
    rows = project.rows(ROWS)
    assert {(row["metric"], row["value"]) for row in rows} == {("polite", 0.8), ("polite.passed", 1.0)}
    asked = endpoint.questions[0]
    assert "Look at the tone." in asked["messages"][-1]["content"]
    assert asked["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
    assert rows[0]["judge_digest"] and rows[0]["reason"] == "as was asked"


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        ({"threshold": 0.9}, {("polite", 0.8), ("polite.passed", 0.0)}),
        ({"strict_mode": True}, {("polite", 1.0), ("polite.passed", 1.0)}),
        ({"rubric": [{"score_range": [0, 8], "expected_outcome": "fine"}]}, {("polite", 1.0), ("polite.passed", 1.0)}),
    ],
    ids=["threshold", "strict_mode", "rubric"],
)
def test_settings_reach_the_metric(tmp_path: Path, changed: dict[str, Any], values: set[tuple[str, float]]) -> None:
    """Threshold, strictness and rubric decide as they do in deepeval."""
    endpoint = DeepevalEndpoint(scoring(1 if "strict_mode" in changed else 8))
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, {**GEVAL, "with": {**GEVAL["with"], **changed}})  # type: ignore[dict-item]
        assert project.run("measure", "evals") == 0
    assert {(row["metric"], row["value"]) for row in project.rows(ROWS)} == values


def test_metrics_of_several_questions(tmp_path: Path) -> None:
    """AnswerRelevancy takes statements out, judges each, and scores the share: one of two is 0.5."""

    def fill(names: set[str], _: str) -> dict[str, Any]:
        if "statements" in names:
            return {"statements": ["one", "two"]}
        return {"verdicts": [{"verdict": "yes", "reason": None}, {"verdict": "no", "reason": "off"}]}

    check = {"id": "relevant", "check": "deepeval/AnswerRelevancy",
             "with": {"model": "remote", "cases": 2, "include_reason": False}}  # fmt: skip
    endpoint = DeepevalEndpoint(fill)
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, check)
        assert project.run("measure", "evals") == 0
    assert [row["value"] for row in project.rows(ROWS) if row["metric"] == "relevant"] == [0.5, 0.5]
    assert len(project.rows(TOLD)[0]["asked"]) == 2


EXAMPLE = {"reason": "your concise and informative reason here", "score": 0}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"reason": "x", "score": 25}, "lies outside 0 to 1"),
        (EXAMPLE, "repeated the example in the question"),
        ({"reason": "no score"}, "is no ReasonScore"),
    ],
)
def test_what_is_no_score_is_unscored(tmp_path: Path, made: dict[str, Any], said: str) -> None:
    """A score off the scale, the example of the question and another form say nothing of the output."""
    endpoint = DeepevalEndpoint(lambda *_: made)
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, GEVAL)
        assert project.run("measure", "evals") == 0
    assert {row["status"] for row in project.rows(ROWS)} == {"unscored"}
    assert said in project.rows(ROWS)[0]["reason"]


def test_a_score_of_nothing_is_no_score(tmp_path: Path) -> None:
    """deepeval calls an answer without statements fully relevant; here it has no score."""
    check = {"id": "relevant", "check": "deepeval/AnswerRelevancy", "with": {"model": "remote", "cases": 2}}
    endpoint = DeepevalEndpoint(lambda names, _: {"statements": []} if "statements" in names else {"reason": "r"})
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, check)
        assert project.run("measure", "evals") == 0
    assert "found no statements in the output, and deepeval's score of nothing is 1" in project.rows(ROWS)[0]["reason"]


@pytest.mark.parametrize(
    ("check", "settings", "said"),
    [
        ("GEval", {"evaluation_step": ["x"]}, "did you mean 'evaluation_steps'?"),
        ("GEval", {"threshold": "high"}, "setting 'threshold' = 'high': "),
        ("GEval", {"model": "nobody"}, "no model 'nobody'"),
        ("GEval", {"cases": 0}, "at least one case"),
        ("GEval", {"evaluation_params": []}, "evaluation_params cannot be an empty list"),
        ("Relevance", {}, "deepeval has no metric 'Relevance'; usable are AnswerRelevancy"),
        ("KnowledgeRetention", {}, "does not work on one answer to one question"),
        ("Misuse", {}, "setting 'domain' of MisuseMetric is missing"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], check: str, settings: dict[str, Any], said: str
) -> None:
    """The message names the setting, its value and what would be right; exit code 64."""
    spec = {"id": "x", "check": f"deepeval/{check}", "with": {"model": "remote", **settings}}
    project = project_with(tmp_path, "http://127.0.0.1:1", spec)
    assert project.run("measure") == 64
    assert said in capsys.readouterr().err
    assert not project.runs


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """deepeval is optional: without it its rows are unscored, say how to get it, and break nothing else."""
    monkeypatch.setitem(sys.modules, "deepeval.metrics", None)
    project = project_with(tmp_path, "http://127.0.0.1:1", GEVAL)
    assert project.run("measure", "evals") == 0
    assert {row["status"] for row in project.rows(ROWS)} == {"unscored"}
    assert ".[judges]" in project.rows(ROWS)[0]["reason"]
    assert ".[judges]" in capsys.readouterr().out


QUIET = """\
import os, socket, sys
def refused(*args, **kwargs):
    print("NETWORK", args, flush=True)
    os._exit(9)
socket.getaddrinfo = refused
socket.socket.connect = refused
from harness.evals.deepeval_checks import load
metrics = load()
from deepeval.telemetry import get_backend, telemetry_opt_out
assert telemetry_opt_out() and type(get_backend()).__name__ == "NoopBackend"
metrics.ExactMatchMetric().measure(__import__("deepeval.test_case").test_case.LLMTestCase(
    input="a", actual_output="b", expected_output="b"))
print(sorted(os.listdir(".")))
"""


def test_it_tells_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Importing, measuring and ending ask no network, not even for a name, and write nothing where they run."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CONFIDENT_API_KEY": "someone's", "HOME": str(tmp_path / "home")}
    env.pop("DEEPEVAL_TELEMETRY_OPT_OUT", None)
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=tmp_path / "work", env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert not (tmp_path / "home").exists()


WRITTEN = """\
from deepeval import assert_test
from deepeval.metrics import GEval
from deepeval.test_case import LLMTestCase, SingleTurnParams

POLITE = GEval(name="polite", evaluation_steps=["Look at the tone."], threshold=0.5,
               evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT])

def of(outputs, label):
    row = next(row for row in outputs.values() if row["output"] == label)
    return LLMTestCase(input=row["input"], actual_output=row["output"])

def test_refunds(outputs):
    assert_test(of(outputs, "refund"), [POLITE])

def test_others(outputs):
    assert_test(of(outputs, "other"), [POLITE])
"""


def test_assert_test_asks_our_model(tmp_path: Path) -> None:
    """A file written for deepeval runs under pytest with the app's outputs and the suite's model, without a key."""

    def tone(_: set[str], prompt: str) -> dict[str, Any]:
        return {"reason": "the tone", "score": 9 if "refund" in prompt.split("Actual Output:")[1] else 2}

    endpoint = DeepevalEndpoint(tone)
    with serving(endpoint.answer) as stub:
        project = project_with(tmp_path, stub.url, GEVAL, more={"suites/desk/test_tone.py": WRITTEN})
        env = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "PYTEST_ADDOPTS")}
        command = [sys.executable, "-m", "pytest", "suites/desk/test_tone.py", "-p", "no:cacheprovider", "-q"]
        done = subprocess.run(
            command, cwd=project.root, env=env | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240
        )
        asked = list(endpoint.questions)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_others" in done.stdout
    assert "polite [GEval] (score: 0.2, threshold: 0.5" in done.stdout
    assert "Look at the tone." in asked[0]["messages"][-1]["content"]
    assert asked[0]["model"] == MODEL
    assert not (project.root / ".deepeval").exists()
