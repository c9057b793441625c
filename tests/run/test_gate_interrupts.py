"""What is kept when a service, the gateway, a person or the kernel ends a run early."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Self

import orjson
import pytest

from harness.errors import SignoffError
from tests.run.project import Reply, Stub, http_app, interrupt, make_project, reply, serving, sort, wait_for
from tests.run.test_gate_bad_input import LLM_APP, PROMPT

SLOW = """\
import time
from pathlib import Path
def label(message):
    Path(__file__).with_name("started").touch()
    time.sleep(0.25)
    return "refund" if "money" in message else "other"
"""
MODEL = f"""\
name: remote
source: path:nothing.gguf
sha256: {"a" * 64}
licence: MIT
context: 2048
"""
ONE_AT_A_TIME = """\
concurrency: 1
slices:
  money: about money
checks:
  - {id: right, check: label_match, expect: label}
"""

USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def hangs_up_after(number: int, answer: Callable[[Any], Reply]) -> Callable[[Any], Reply]:
    """``answer`` for the first requests; every later one finds nobody."""
    seen = count(1)

    def limited(body: Any) -> Reply:
        if next(seen) > number:
            raise ConnectionError
        return answer(body)

    return limited


def test_service_that_dies_midway(tmp_path: Path) -> None:
    """A service that dies breaks the stage: exit 3, finished rows kept, the rest errors with a reason."""
    with serving(hangs_up_after(20, sort)) as service:
        files = {"suites/desk/app.yaml": http_app(service.url), "suites/desk/suite.yaml": ONE_AT_A_TIME}
        project = make_project(tmp_path, files=files)
        assert project.run("gate") == 3
    rows = project.rows()
    assert Counter(row["status"] for row in rows) == {"scored": 20, "error": 40}
    assert all(row["value"] == 1 for row in rows[:20])
    assert all(row["value"] is None and service.url in row["reason"] for row in rows[20:])
    assert project.gate_named("level")["errors"] == 40
    assert project.file("run.json")["complete"] is True


def test_service_that_changes_its_build(tmp_path: Path) -> None:
    """A service that states two builds within one run was not one thing under review: exit 3 names both."""
    builds = iter(["b1"] * 30 + ["b2"] * 30)

    def answer(body: Any) -> Reply:
        status, data, _ = sort(body)
        return status, data, {"x-build": next(builds)}

    with serving(answer) as service:
        project = make_project(
            tmp_path, files={"suites/desk/app.yaml": http_app(service.url, "digest_header: x-build")}
        )
        assert project.run("gate") == 3
    stage = project.file("run.json")["stages"][0]
    assert "answered as 2 builds: b1, b2" in stage["reason"]
    assert list(stage["served"].values()) == [["b1", "b2"]]


class FakeServer:
    """Stands in for the gateway's child process: answers ``alive`` chats, then is dead."""

    url = ""
    asked: Callable[[], int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the real one takes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        """Nothing to stop."""

    def check(self) -> None:
        """As the real one: raise once the child is gone."""
        if type(self).asked() > 20:
            message = "the gateway died with exit code 9"
            raise SignoffError(message)


def chat(body: Any) -> Reply:
    """A chat completion with the right label."""
    label = "refund" if "money" in body["messages"][-1]["content"] else "other"
    return reply({"choices": [{"message": {"content": label}, "finish_reason": "stop"}], "usage": USAGE})


def test_gateway_that_dies_midway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the gateway's process dies the run exits 3, keeps finished rows, and marks the rest as errors."""
    files = {
        "suites/desk/app.yaml": LLM_APP,
        "prompts/desk/sort/1.0.0.prompty": PROMPT,
        "models/remote/model.yaml": MODEL,
        "suites/desk/suite.yaml": ONE_AT_A_TIME,
    }
    project = make_project(tmp_path, files=files)
    with serving(hangs_up_after(20, chat)) as stub:
        monkeypatch.setattr(FakeServer, "url", stub.url)
        monkeypatch.setattr(FakeServer, "asked", lambda: len(stub.asked), raising=False)
        monkeypatch.setattr("harness.run.gateway.LocalServer", FakeServer)
        assert project.run("gate") == 3
        assert len(stub.asked) == 21
    verdict = project.file("verdict.json")
    assert verdict["verdict"] == "error"
    assert "the gateway died with exit code 9" in verdict["next_action"]
    assert Counter(row["status"] for row in project.rows()) == {"scored": 20, "error": 40}
    assert project.file("run.json")["stages"][0]["status"] == "broken"
    with serving(chat) as stub:
        monkeypatch.setattr(FakeServer, "url", stub.url)
        monkeypatch.setattr(FakeServer, "asked", lambda: 0)
        monkeypatch.setattr("harness.run.stages.regression.served_as_evaluated", _nothing)
        assert project.run("gate") == 0
        assert len(stub.asked) == 40


async def _nothing(*args: Any) -> None:
    """The stub knows no apps, so it is not asked for them."""


def test_gateway_with_another_digest_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that states another model digest than the one under review breaks the run: exit 3."""
    files = {
        "suites/desk/app.yaml": LLM_APP,
        "prompts/desk/sort/1.0.0.prompty": PROMPT,
        "models/remote/model.yaml": MODEL,
    }
    project = make_project(tmp_path, count=12, files=files)

    def another(body: Any) -> Reply:
        status, content, _ = chat(body)
        return status, content, {"x-signoff-digest": "f" * 64}

    with serving(another) as stub:
        monkeypatch.setattr(FakeServer, "url", stub.url)
        monkeypatch.setattr(FakeServer, "asked", lambda: 0, raising=False)
        monkeypatch.setattr("harness.run.gateway.LocalServer", FakeServer)
        assert project.run("gate") == 3
    assert "under review is" in project.file("verdict.json")["next_action"]
    assert {row["status"] for row in project.rows()} == {"error"}


def test_one_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    """SIGINT once: exit 3, a whole run folder, finished rows scored and the others marked as not run."""
    project = make_project(tmp_path, files={"suites/desk/desk.py": SLOW, "suites/desk/suite.yaml": ONE_AT_A_TIME})
    process = project.start("gate", "--json")
    wait_for(lambda: (project.root / "suites/desk/started").exists() or process.poll() is not None)
    code, out, err = interrupt(process)
    assert code == 3, err
    assert "Traceback" not in err
    assert orjson.loads(out)["verdict"] == "error"
    assert project.file("run.json")["complete"] is True
    states = Counter(row["status"] for row in project.rows())
    assert states["scored"] >= 1 and states["error"] >= 1 and states.total() == 60
    assert {row["reason"] for row in project.rows() if row["status"] == "error"} == {"not run: interrupted"}
    assert (project.runs[-1] / "report.html").is_file()


def test_killed_run_resumes_from_the_cache(tmp_path: Path) -> None:
    """After kill -9 the folder is refused as cut off, and the next run asks only what was not yet answered."""
    answered = 25
    release = [False]

    def stalling(body: Any) -> Reply:
        wait_for(lambda: release[0] or len(service.asked) <= answered)
        return sort(body)

    service: Stub
    with serving(stalling) as service:
        files = {"suites/desk/app.yaml": http_app(service.url), "suites/desk/suite.yaml": ONE_AT_A_TIME}
        project = make_project(tmp_path, files=files)
        process = project.start("gate")
        wait_for(lambda: len(service.asked) > answered or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        assert not (project.runs[-1] / "run.json").exists()
        assert project.run("report", project.runs[-1].name) == 64
        release[0] = True
        before = len(service.asked)
        assert project.run("gate") == 0
        assert len(service.asked) - before == 60 - answered
    verdict = project.file("verdict.json")
    assert (verdict["model_calls"], verdict["cached_calls"]) == (60 - answered, answered)
