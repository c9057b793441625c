"""The whole way on real traces: a served gateway over the tiny model, users, feedback, then the reports."""

from __future__ import annotations

import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from tests.monitor.traffic import message
from tests.run.project import Project
from tests.serve.served_repo import Served, serving, write_repo

USERS = 330
SUITE = "checks:\n  - {id: said, check: not_contains, with: {text: '{'}}\n"
GATES = "gates:\n  - {id: said, metric: said, rule: at_least, threshold: 0.5}\n"
ECHO_MONITOR = """\
indicators:
  - {id: available, kind: availability, at_least: 0.5}
  - {id: quick, kind: latency, within_s: 30, at_least: 0.5}
  - {id: liked, kind: feedback, outcome: thumb, at_least: 0.3, minimum: 50}
drift:
  features:
    - {id: length, kind: length, threshold: 0.5}
    - {id: language, kind: language}
    - {id: wording, kind: text}
ab:
  horizon: 1m
  outcomes: [{indicator: available, margin: 0.15}]
"""
DESK_MONITOR = """\
indicators:
  - {id: first_words, kind: latency, of: first_s, within_s: 30, at_least: 0.5, minimum: 5}
  - {id: cut_off, kind: share, field: finish_reason, values: [length], at_most: 1.0, minimum: 5, required: false}
"""
TRAFFIC = """\
experiment: loud
variants:
  - {name: loud, share: 50, serves: candidate}
  - {name: control, share: 50, ref: HEAD}
minimum_sample: 100
"""


def posted(served: Served, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer, an error's body too."""
    request = urllib.request.Request(
        f"{served.url}/{path}", orjson.dumps(body), {"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        found = orjson.loads(error.read())
    return found


def visit(served: Served, number: int) -> None:
    """One user writes to the echo, and may rate the answer."""
    draw = random.Random(number)
    text = message(draw) if number % 15 else "raise an error"
    answer = posted(
        served,
        "chat/completions",
        {"model": "echo", "user": f"anna-{number}", "messages": [{"role": "user", "content": text}]},
    )
    if "id" in answer and number % 3 == 0:
        posted(served, "feedback", {"response_id": answer["id"], "thumb": "up" if number % 4 else "down"})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A repository that was served to 330 users, and whose server has stopped."""
    folder = tmp_path_factory.mktemp("served")
    files = {
        f"suites__{app}__{name}": text
        for app, monitor in (("echo", ECHO_MONITOR), ("desk", DESK_MONITOR))
        for name, text in (
            ("suite.yaml", SUITE), ("gates.yaml", GATES), ("monitor.yaml", monitor),
            ("cases__all.jsonl", '{"id": "a", "inputs": {"message": "hello"}}\n'),
        )
    }  # fmt: skip
    made = Project(write_repo(folder / "repo", folder / "cache", **files))
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("first")
    made.write({"suites/echo/traffic.yaml": TRAFFIC})
    with serving(made.root, folder / "cache") as served:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: visit(served, number), range(USERS)))
            body = {"model": "desk", "stream": False, "messages": [{"role": "user", "content": "hello"}]}
            list(pool.map(lambda n: posted(served, "chat/completions", body | {"user": f"u{n}"}), range(8)))
        assert served.stop() == 0
    yield made


def asked(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command."""
    capsys.readouterr()
    code = main([*args, "--root", str(project.root), "--json"])
    return code, orjson.loads(capsys.readouterr().out)


def test_promises_on_real_traces(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request and feedback of the session is read back from Parquet, and decided on."""
    assert list((project.root / "reports/traces").glob("*.parquet"))
    code, report = asked(project, capsys, "monitor", "run", "--window", "1h")
    echo = {each["id"]: each for each in report["apps"]["echo"]["indicators"]}
    assert (echo["available"]["n"], echo["available"]["answer"]) == (USERS, "ok")
    assert echo["available"]["estimate"] == pytest.approx(1 - 22 / USERS)
    assert (echo["liked"]["n"], echo["liked"]["answer"]) == (88, "ok")
    assert echo["quick"]["answer"] == "ok"
    assert len(report["apps"]["echo"]["traffic"]["versions"]) == 1
    desk = {each["id"]: each for each in report["apps"]["desk"]["indicators"]}
    assert desk["cut_off"]["n"] == 8
    assert code == 2 and report["next_action"].startswith(("signoff monitor reference --app echo", "wait for"))


def test_drift_on_real_traces(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Traffic is its own reference, and looks like it."""
    code, made = asked(
        project, capsys, "monitor", "reference", "--app", "echo", "--traces", str(project.root / "reports/traces")
    )
    assert (code, made["inputs"]) == (0, USERS - 22)
    _, report = asked(project, capsys, "monitor", "run", "--app", "echo")
    assert {each["answer"] for each in report["apps"]["echo"]["drift"]} == {"ok"}
    text = Path(made["file"]).read_text(encoding="utf-8")
    assert "anna" not in text and "parcel" in text


def test_an_experiment_on_real_traces(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Users were dealt by the gateway in the declared shares, both arms do the same, and nobody met two arms."""
    later = "2099-01-01T00:00:00Z"
    code, report = asked(
        project, capsys, "ab", "report", "--app", "echo", "--since", "2020-01-01T00:00:00Z", "--now", later
    )
    assert sum(report["users"].values()) == USERS
    assert (report["moved"], report["blocked"], report["young"], report["other_requests"]) == (0, [], 0, 0)
    assert report["outcomes"][0]["n"] == USERS
    assert (code, report["answer"]) == (0, "ship"), report["outcomes"]
