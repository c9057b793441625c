"""``signoff monitor run`` on planted traffic: fine, slow, drifted, too little, and logs that something happened to."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.spec.measurement import read_measurements
from tests.monitor.traffic import AT, NOW, labelled, log_of, rated, row, traffic, watched_project, write_log
from tests.run.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A desk whose reference is the traffic of a quiet day."""
    made = watched_project(tmp_path)
    before = tmp_path / "before"
    write_log(before, traffic(400, seed=1))
    code = main(
        ["monitor", "reference", "--root", str(made.root), "--app", "desk", "--traces", str(before), "--now", AT]
    )
    assert code == 0
    return made


def look(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    capsys.readouterr()
    code = main(["monitor", "run", "--root", str(project.root), "--now", AT, "--json", *args])
    return code, orjson.loads(capsys.readouterr().out)


def answers(report: dict[str, Any], key: str = "indicators") -> dict[str, str]:
    """Answer by id."""
    return {each["id"]: each["answer"] for each in report["apps"]["desk"][key]}


def test_traffic_of_the_same_kind_is_fine(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Kept promises and an unchanged kind of traffic end with 0, and the run folder holds rows and a summary."""
    write_log(log_of(project), traffic(400, seed=2))
    code, report = look(project, capsys)
    assert answers(report) == {"available": "ok", "quick": "ok", "refunds": "ok", "liked": "undecided"}
    assert set(answers(report, "drift").values()) == {"ok"}, report
    assert (code, report["answer"]) == (0, "ok")
    folder = Path(report["run"])
    rows = list(read_measurements(folder / "measurements/monitor.jsonl"))
    assert {each.stage for each in rows} == {"monitor"} and len(rows) == report["rows"] == 3 * 400 + 4
    assert "# Monitoring: ok" in (folder / "summary.md").read_text()
    assert orjson.loads((folder / "run.json").read_bytes())["complete"] is True
    assert not (project.root / "reports" / "latest").exists()


@pytest.mark.parametrize(
    ("how", "feature"),
    [({"spanish": 0.5}, "language"), ({"words": (30, 60)}, "length"), ({"refund": 0.75}, "intent")],
)
def test_drift_is_named(
    project: Project, capsys: pytest.CaptureFixture[str], how: dict[str, Any], feature: str
) -> None:
    """Another language, length or mix of intents ends with 1; the feature is named, and where it went."""
    write_log(log_of(project), traffic(400, seed=3, **how))
    code, report = look(project, capsys)
    assert (code, answers(report, "drift")[f"drift-{feature}"]) == (1, "drifted")
    assert feature in report["next_action"] and "%" in report["next_action"]
    if feature == "language":
        assert "of it es 4" in report["next_action"] or "of it es 5" in report["next_action"]
    if feature == "intent":
        assert answers(report, "drift")["drift-language"] == answers(report, "drift")["drift-length"] == "ok"


def test_slow_traffic_breaches_the_latency_promise(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers beyond the promised time end with 1 and name the promise; failures count as late."""
    rows = list(traffic(400, seed=4))
    for each in rows[:100]:
        each["total_s"] = 9.0
    write_log(log_of(project), rows)
    code, report = look(project, capsys)
    assert (code, answers(report)["quick"], answers(report)["available"]) == (1, "breached", "ok")
    assert "quick is at 75.0 %, promised is at least 90 %" in report["next_action"]


def test_failures_are_breaches_and_refusals_are_not(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What callers did wrong, or broke off, says nothing of availability."""
    write_log(log_of(project), traffic(300, seed=5))
    write_log(log_of(project), traffic(200, seed=6, outcome="refused", status=400))
    write_log(log_of(project), traffic(200, seed=7, outcome="limited", status=429))
    assert answers(look(project, capsys)[1])["available"] == "ok"
    write_log(log_of(project), traffic(60, seed=8, outcome="timeout", status=504))
    code, report = look(project, capsys)
    assert (code, answers(report)["available"]) == (1, "breached")
    assert next(each["n"] for each in report["apps"]["desk"]["indicators"] if each["id"] == "available") == 360


def test_too_little_traffic_is_undecided(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A quiet night is neither kept nor broken: 2, also when the few requests went badly."""
    write_log(log_of(project), traffic(30, seed=9, outcome="failed", status=500))
    code, report = look(project, capsys)
    assert (code, set(answers(report).values())) == (2, {"undecided"})
    assert "too little traffic: 30 requests" in report["apps"]["desk"]["indicators"][0]["reason"]
    assert set(answers(report, "drift").values()) == {"undecided"}


def test_no_request_at_all(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty window is undecided and asks whether the app is served."""
    log_of(project).mkdir(parents=True)
    code, report = look(project, capsys)
    assert code == 2 and "the window holds no request" in report["next_action"]


def test_a_busy_user_is_one_voice(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests of one user widen no sample: three hundred failures of one person prove no outage."""
    write_log(log_of(project), traffic(120, seed=10))
    write_log(log_of(project), [{**each, "user": "bot"} for each in traffic(30, seed=11, outcome="failed")])
    _, report = look(project, capsys)
    found = report["apps"]["desk"]["indicators"][0]
    assert (found["n"], found["clusters"], found["answer"]) == (150, 121, "undecided")


def test_the_latest_feedback_counts(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Feedback given again replaces the first, and feedback on answers outside the window is left out."""
    write_log(log_of(project), traffic(400, seed=2))
    said = [rated(2_000_000 + number, NOW - timedelta(minutes=9), thumb="down") for number in range(40)]
    again = [rated(2_000_000 + number, NOW - timedelta(minutes=3), thumb="up") for number in range(40)]
    other = [rated(77 + number, NOW - timedelta(minutes=3), thumb="down") for number in range(40)]
    write_log(log_of(project), [*again, *said, *other])
    _, report = look(project, capsys)
    liked = next(each for each in report["apps"]["desk"]["indicators"] if each["id"] == "liked")
    assert (liked["n"], liked["estimate"], liked["answer"]) == (40, 1.0, "ok")


def test_a_cut_line_is_counted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that was killed in mid-line costs that line and nothing else."""
    path = write_log(log_of(project), traffic(400, seed=2))
    path.write_bytes(path.read_bytes()[:-40])
    code, report = look(project, capsys)
    assert code == 0
    assert (report["apps"]["desk"]["traffic"]["torn"], report["apps"]["desk"]["traffic"]["requests"]) == (1, 399)
    assert "1 cut and 0 damaged lines were skipped" in report["apps"]["desk"]["warnings"][0]


def test_damage_in_the_middle_is_counted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are no rows, and rows of a later schema, are skipped and told."""
    path = write_log(log_of(project), traffic(400, seed=2))
    later = orjson.dumps(row(9, NOW - timedelta(minutes=1), schema_version=2))
    path.write_bytes(b"\x00\xff garbage\n[1]\n" + later + b"\n" + path.read_bytes())
    code, report = look(project, capsys)
    found = report["apps"]["desk"]["traffic"]
    assert (code, found["damaged"], found["foreign"], found["requests"]) == (0, 2, 1, 400)


def test_rows_from_the_future_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A server whose clock is ahead is named; its rows wait until this clock has caught up."""
    write_log(log_of(project), traffic(400, seed=2))
    write_log(log_of(project), [row(5, NOW + timedelta(minutes=7))])
    code, report = look(project, capsys)
    assert (code, report["apps"]["desk"]["traffic"]["ahead"], report["apps"]["desk"]["traffic"]["requests"]) == (
        0,
        1,
        400,
    )
    assert "set the servers' clocks right" in report["apps"]["desk"]["warnings"][0]


def test_rows_of_another_version(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """They count for what users felt; their labels are not compared; all of it is said."""
    write_log(log_of(project), traffic(150, seed=2))
    write_log(log_of(project), traffic(250, seed=3, refund=0.9, digest="e" * 64))
    _, report = look(project, capsys)
    found = report["apps"]["desk"]
    assert found["traffic"]["versions"] == {"e" * 64: 250, "d" * 64: 150}
    said = " ".join(found["warnings"])
    assert "150 of 400 requests were answered by another version than eeeeeeeeeeee" in said
    assert "the reference belongs to version dddddddddddd" in said
    intent = next(each for each in found["drift"] if each["id"] == "drift-intent")
    assert (intent["n"], intent["answer"]) == (150, "ok")
    assert next(each for each in found["indicators"] if each["id"] == "available")["n"] == 400


def test_an_old_reference_decides_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """After its time every feature is undecided and the warning says how to set another."""
    path = project.root / "suites/desk/reference.json"
    content = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(content | {"made": "2026-01-01T00:00:00+00:00"}))
    write_log(log_of(project), traffic(400, seed=2))
    code, report = look(project, capsys)
    assert (code, set(answers(report, "drift").values())) == (2, {"undecided"})
    assert "has expired after 90 days" in report["apps"]["desk"]["warnings"][0]
    assert report["next_action"].startswith("signoff monitor reference --app desk --from RUN")


def test_without_a_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Promises are decided; drift is undecided and says which command sets a reference."""
    project = watched_project(tmp_path)
    write_log(log_of(project), traffic(400, seed=2))
    code, report = look(project, capsys)
    assert code == 2 and answers(report)["available"] == "ok"
    assert report["next_action"].startswith("signoff monitor reference --app desk --from RUN")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "cannot be read"), (b'{"schema": 7}', "is no reference of this version"), (b"[]", "is no reference")],
)
def test_a_spoilt_reference_is_named(
    project: Project, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    """A file of another shape ends with 64 and says how to make a new one."""
    (project.root / "suites/desk/reference.json").write_bytes(content)
    write_log(log_of(project), traffic(10, seed=2))
    code, report = look(project, capsys)
    assert code == 64 and said in report["error"] and "signoff monitor reference" in report["error"]


def test_the_window_wins_over_the_file(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Only rows of the last hour count with --window 1h."""
    write_log(log_of(project), traffic(400, seed=2))
    old, recent = (
        look(project, capsys, *args)[1]["apps"]["desk"]["traffic"]["requests"] for args in ((), ("--window", "1h"))
    )
    assert old == 400 and 0 < recent < 60


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--window", "soon"], "--window is 'soon'; write it as 30m, 6h, 1d or 2w"),
        (["--now", "2026-11-20"], "give a date and time with its zone"),
        (["--traces", "nowhere"], "no log of requests in nowhere"),
        (["--app", "shop"], "no app 'shop'"),
    ],
)
def test_mistakes_of_the_command_line(
    project: Project, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    """A mistake is named, with exit code 64."""
    log_of(project).mkdir(parents=True)
    code, report = look(project, capsys, *args)
    assert code == 64 and said in report["error"]


def test_shadows_are_not_what_users_felt(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers that nobody was shown are counted apart."""
    write_log(log_of(project), traffic(400, seed=2))
    write_log(log_of(project), traffic(300, seed=3, shadow=True, outcome="failed"))
    code, report = look(project, capsys)
    assert (code, report["apps"]["desk"]["traffic"]["shadows"]) == (0, 300)


def test_text_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json every promise is a line, and the last one is the next action."""
    write_log(log_of(project), traffic(400, seed=2))
    capsys.readouterr()
    assert main(["monitor", "run", "--root", str(project.root), "--now", AT]) == 0
    out = capsys.readouterr().out
    assert "OK         desk/available: 100.0 % [99.3 %, 100.0 %] of at least 95.0 % (400 requests" in out
    assert out.rstrip().endswith("next: nothing: every promise is kept and traffic looks like the reference")


def test_markup_in_traffic_stays_text(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A label that a caller could shape opens no cell and no tag in the summary."""
    evil = "<b>|x|\x1b[2J"
    rows = [{**each, "steps": labelled(evil)} for each in traffic(300, seed=3)]
    write_log(log_of(project), [*traffic(100, seed=2), *rows])
    _, report = look(project, capsys)
    page = (Path(report["run"]) / "summary.md").read_text()
    assert "<b>" not in page and "\x1b" not in page and "\\<b\\>" in page
    assert "\x1b" not in report["next_action"]


def test_two_runs_at_once_get_a_folder_each(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs at the same time do not disturb each other."""
    import threading

    write_log(log_of(project), traffic(120, seed=2))
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: codes.append(main(["monitor", "run", "--root", str(project.root), "--now", AT]))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    capsys.readouterr()
    runs = [path for path in (project.root / "reports/monitor").iterdir() if path.name != "latest"]
    assert len(codes) == len(set(codes)) + 2 and len(runs) == 3
    assert all((path / "run.json").is_file() for path in runs)


def test_unreadable_traces_are_a_harness_failure(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged Parquet file ends with 3 and names the file."""
    log_of(project).mkdir(parents=True)
    (log_of(project) / "traces-20261120T000000-000abcdef.parquet").write_bytes(os.urandom(200))
    code, report = look(project, capsys)
    assert code == 3 and "is damaged" in report["error"]
