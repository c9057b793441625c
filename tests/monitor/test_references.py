"""References: kept by accepted runs only, bound to what was accepted, without anybody's data, and cheap."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.run import references
from tests.monitor.traffic import AT, MONITOR, log_of, traffic, watched_project, write_log
from tests.run.project import ALWAYS_OTHER, Project, case_lines, make_project

DESK = "suites/desk/desk.py"


def person_cases(count: int) -> str:
    """Cases in which people name themselves."""
    rows = [orjson.loads(line) for line in case_lines(count).splitlines()]
    for row in rows:
        row["inputs"]["message"] += ". I am Jane Miller, write to jane.miller@example.com"
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A desk with 120 cases that promises something."""
    return make_project(
        tmp_path, files={"suites/desk/monitor.yaml": MONITOR, "suites/desk/cases/all.jsonl": person_cases(120)}
    )


def set_reference(project: Project, run: str = "latest", *more: str) -> int:
    """``signoff monitor reference --from``."""
    return main(["monitor", "reference", "--root", str(project.root), "--app", "desk", "--from", run, *more])


def test_an_accepted_run_keeps_the_reference(project: Project) -> None:
    """It holds histograms, labels of steps and anonymised inputs, and the digest that was accepted."""
    assert project.run("gate") == 0
    kept = project.file("artifacts/monitor/desk.json")
    assert kept["digest"] == project.file("verdict.json")["apps"]["desk"]["candidate"]
    assert kept["inputs"] == 120
    intent = kept["histograms"]["intent"]
    assert dict(zip(intent["names"], intent["counts"], strict=True)) == {"refund": 60, "other": 60, "(other)": 0}
    assert sum(kept["histograms"]["length"]["counts"]) == sum(kept["histograms"]["language"]["counts"]) == 120
    whole = orjson.dumps(kept).decode()
    assert "jane.miller" not in whole and "Miller" not in whole and "<EMAIL" in whole
    assert "artifacts/monitor/desk.json" in project.file("run.json")["files"]


def test_an_accepted_run_becomes_the_reference(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``--from`` copies it to the suite, and monitor run then compares with it and with its version."""
    assert project.run("gate") == 0
    assert set_reference(project) == 0
    assert "120 inputs" in capsys.readouterr().out
    digest = project.file("verdict.json")["apps"]["desk"]["candidate"]
    log = log_of(project)
    write_log(log, traffic(300, seed=1, digest=digest))
    assert main(["monitor", "run", "--root", str(project.root), "--now", AT, "--json"]) == 1
    found = orjson.loads(capsys.readouterr().out)["apps"]["desk"]
    assert found["reference"]["digest"] == digest and found["warnings"] == []
    intent = next(each for each in found["drift"] if each["id"] == "drift-intent")
    assert (intent["n"], intent["reference_n"]) == (300, 120)
    assert intent["bins"][1] == {"bin": "refund", "reference": 0.5, "traffic": pytest.approx(0.3, abs=0.1)}


def test_a_failed_run_is_no_reference(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was not accepted keeps none, and cannot be named."""
    project.branch()
    project.write({DESK: ALWAYS_OTHER})
    assert project.run("gate") == 1
    assert not (project.runs[-1] / "artifacts/monitor").exists()
    assert set_reference(project) == 64
    assert "only an accepted run is a reference" in capsys.readouterr().err
    assert not (project.root / "suites/desk/reference.json").exists()


def test_an_altered_reference_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What the run wrote and what lies there now must be the same bytes."""
    assert project.run("gate") == 0
    path = project.runs[-1] / "artifacts/monitor/desk.json"
    path.write_bytes(path.read_bytes().replace(b'"inputs": 120', b'"inputs": 999'))
    assert set_reference(project) == 64
    assert "is not what was written" in capsys.readouterr().err


def test_the_second_run_anonymises_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cases unchanged, neither the anonymiser nor the language model is loaded again."""
    assert project.run("gate") == 0
    first = project.file("artifacts/monitor/desk.json")

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(references, "load_anonymiser", never)
    monkeypatch.setattr(references, "make_reference", never)
    assert project.run("gate") == 0
    second = project.file("artifacts/monitor/desk.json")
    same = ("digest", "histograms", "sample", "inputs")
    assert [first[name] for name in same] == [second[name] for name in same]


def test_a_spoilt_cache_is_made_again(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that a full disk cut off in the cache costs time and nothing else."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))
    assert project.run("gate") == 0
    first = project.file("artifacts/monitor/desk.json")
    for path in (tmp_path / "cache/monitor").iterdir():
        if b'"schema"' in path.read_bytes():
            path.write_bytes(b"{")
    assert project.run("gate") == 0
    assert project.file("artifacts/monitor/desk.json")["histograms"] == first["histograms"]


def test_without_presidio_no_text_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is accepted all the same; its reference has labels, and neither texts nor lengths of raw texts."""
    from harness.errors import UsageError

    def missing(*_: Any) -> None:
        raise UsageError("no presidio")

    monkeypatch.setattr(references, "load_anonymiser", missing)
    assert project.run("gate") == 0
    kept = project.file("artifacts/monitor/desk.json")
    assert kept["sample"] == [] and set(kept["histograms"]) == {"intent"}
    assert "Miller" not in orjson.dumps(kept).decode()


def test_apps_without_drift_keep_nothing(tmp_path: Path) -> None:
    """No monitor.yaml, or one without drift: no file, no time."""
    project = watched_project(tmp_path, MONITOR[: MONITOR.index("drift:")])
    assert project.run("gate") == 0
    assert not (project.runs[-1] / "artifacts/monitor").exists()
    assert set_reference(project) == 64


def test_reference_of_traffic(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Traffic that people looked at can be the reference; too little of it is refused."""
    args = ["monitor", "reference", "--root", str(project.root), "--app", "desk", "--now", AT, "--json", "--traces"]
    write_log(tmp_path / "few", traffic(40, seed=1))
    assert main([*args, str(tmp_path / "few")]) == 64
    assert "40 users with text: 100 are needed" in orjson.loads(capsys.readouterr().out)["error"]
    write_log(tmp_path / "many", traffic(700, seed=1))
    out = tmp_path / "elsewhere/reference.json"
    assert main([*args, str(tmp_path / "many"), "--out", str(out)]) == 0
    assert orjson.loads(capsys.readouterr().out)["inputs"] == 400
    made = orjson.loads(out.read_bytes())
    assert datetime.fromisoformat(made["made"]) == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert made["digest"] == "d" * 64


def test_texts_are_kept_only_where_they_are_compared(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a feature of kind text, or with --no-texts, a reference holds histograms and no input."""
    assert project.run("gate") == 0
    assert set_reference(project, "latest", "--no-texts") == 0
    kept = orjson.loads((project.root / "suites/desk/reference.json").read_bytes())
    assert kept["sample"] == [] and len(kept["histograms"]) == 3
    project.edit("suites/desk/monitor.yaml", "    - {id: wording, kind: text}\n", "")
    assert project.run("gate") == 0
    whole = project.file("artifacts/monitor/desk.json")
    assert whole["sample"] == [] and "message" not in orjson.dumps(whole).decode()


def test_the_profile_release_asks_for_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An app without monitor.yaml is not released: 64 before anything is measured; check warns of it."""
    project = make_project(tmp_path, count=20)
    assert project.run("gate", "--profile", "release") == 64
    said = capsys.readouterr().err
    assert "suites/desk/monitor.yaml: is missing: write what the running app promises" in said
    assert project.runs == []
    assert project.run("measure", "--profile", "release") == 64
    assert project.run("check") == 0
    assert "suites/desk/monitor.yaml: is missing" in capsys.readouterr().out
    project.write({"suites/desk/monitor.yaml": MONITOR})
    capsys.readouterr()
    project.run("gate", "--profile", "release")
    assert "is missing" not in capsys.readouterr().err
    assert project.run("check") == 0
    assert "monitor.yaml" not in capsys.readouterr().out
