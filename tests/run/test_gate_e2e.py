"""The main job on repositories of the test's own, without any model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.run.project import (
    ALWAYS_OTHER,
    APP,
    GATES,
    REWORDED,
    SORT,
    SUITE,
    Project,
    Stub,
    case_lines,
    http_app,
    make_project,
    reply,
    serving,
    sort,
)

DESK = "suites/desk/desk.py"


@pytest.fixture
def service() -> Iterator[Stub]:
    """A service that sorts as the sample app does."""
    with serving(sort) as stub:
        yield stub


def test_clean_branch_measures_one_arm(tmp_path: Path) -> None:
    """With equal digests only the candidate is asked, paired gates do not apply and absolute gates decide."""
    project = make_project(tmp_path)
    project.branch()
    assert project.run("gate") == 0
    assert {row["variant"] for row in project.rows()} == {"candidate"}
    verdict = project.file("verdict.json")
    assert verdict["apps"]["desk"]["candidate"] == verdict["apps"]["desk"]["baseline"]
    assert {gate["id"]: gate["verdict"] for gate in verdict["gates"]} == {"level": "pass", "no-worse": "not_applicable"}
    assert project.gate_named("no-worse")["reason"] == "nothing changed"


def test_clone_has_the_digests_of_its_origin(tmp_path: Path) -> None:
    """Digests depend on bytes under version control and on nothing of the machine or the folder."""
    project = make_project(tmp_path)
    project.git("clone", "--quiet", str(project.root), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    for one in (project, clone):
        one.branch()
        assert one.run("gate") == 0
    assert project.file("verdict.json")["apps"] == clone.file("verdict.json")["apps"]
    assert clone.file("verdict.json")["apps"]["desk"]["baseline"] is not None


def test_changed_app_measures_both_arms(tmp_path: Path) -> None:
    """A change of the app's bytes has both arms asked every case, and equal answers pass the paired gate."""
    project = make_project(tmp_path)
    project.branch()
    project.write({DESK: REWORDED})
    assert project.run("gate") == 0
    outputs = project.outputs()
    assert sorted({(row["variant"], row["app_digest"]) for row in outputs}) == [
        (arm, project.file("verdict.json")["apps"]["desk"][arm]) for arm in ("baseline", "candidate")
    ]
    assert len(outputs) == 2 * 60
    assert project.gate_named("no-worse")["changed"] == 0
    assert project.file("run.json")["changes"] == ["desk: step sort: its function or data files changed"]


def test_regression_fails_and_the_report_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A candidate that loses half of its cases exits 1; terminal, page, summary and JUnit name the failed gate."""
    project = make_project(tmp_path)
    project.branch()
    project.write({DESK: ALWAYS_OTHER})
    assert project.run("gate") == 1
    assert project.file("verdict.json")["verdict"] == "fail"
    assert project.gate_named("no-worse")["changed"] == 30
    told = capsys.readouterr().out
    assert "desk/no-worse" in told and "next: revert" in told
    for name in ("report.html", "summary.md", "junit.xml"):
        assert "no-worse" in (project.runs[-1] / name).read_text(encoding="utf-8")


def test_eight_cases_cannot_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight cases can prove neither gate, so the run is inconclusive, exits 2, and check has warned of it."""
    project = make_project(tmp_path, count=8)
    project.branch()
    project.write({DESK: REWORDED})
    assert project.run("check") == 0
    assert "can never pass" in capsys.readouterr().out
    assert project.run("gate") == 2
    verdict = project.file("verdict.json")
    assert verdict["verdict"] == "inconclusive"
    assert verdict["next_action"].startswith("add ")


def test_second_run_asks_nothing(tmp_path: Path, service: Stub) -> None:
    """Run again unchanged, the gate makes no call, says so, and reaches the same numbers."""
    project = make_project(tmp_path, files={"suites/desk/app.yaml": http_app(service.url)})
    project.branch()
    assert project.run("gate") == 0
    first, asked = project.file("verdict.json"), len(service.asked)
    assert (first["model_calls"], asked) == (60, 60)
    assert project.run("gate") == 0
    second = project.file("verdict.json")
    assert (second["model_calls"], len(service.asked)) == (0, asked)
    assert second["gates"] == first["gates"]
    assert all(row["cached"] for row in project.outputs())


def test_new_app_is_new_folders_only(tmp_path: Path) -> None:
    """A second app is added as one folder; it has no baseline, and the first app is not touched by it."""
    project = make_project(tmp_path)
    project.branch()
    project.write(
        {
            "suites/counter/app.yaml": APP.replace("name: desk", "name: counter"),
            "suites/counter/desk.py": SORT,
            "suites/counter/suite.yaml": SUITE,
            "suites/counter/gates.yaml": GATES,
            "suites/counter/cases/all.jsonl": case_lines(30),
        }
    )
    assert project.run("gate") == 0
    verdict = project.file("verdict.json")
    assert verdict["apps"]["counter"]["baseline"] is None
    reasons = {(gate["app"], gate["id"]): gate["reason"] for gate in verdict["gates"]}
    assert reasons["counter", "no-worse"] == "no baseline: new app"
    assert reasons["desk", "no-worse"] == "nothing changed"


def test_service_beside_its_baseline_url(tmp_path: Path, service: Stub) -> None:
    """An http step with ``baseline_url`` is measured against the service that answers there."""
    with serving(lambda body: reply({"label": "other"})) as worse:
        project = make_project(
            tmp_path, files={"suites/desk/app.yaml": http_app(worse.url, f"baseline_url: {service.url}")}
        )
        project.branch()
        assert project.run("gate") == 1
        assert (len(service.asked), len(worse.asked)) == (60, 60)
    gate = project.gate_named("no-worse")
    assert (gate["baseline"], gate["candidate"], gate["verdict"]) == (1.0, 0.5, "fail")


def test_unpinned_service_is_said(tmp_path: Path, service: Stub) -> None:
    """A service that does not state its build is marked unpinned in the manifest and on the page."""
    project = make_project(tmp_path, files={"suites/desk/app.yaml": http_app(service.url)})
    assert project.run("gate") == 0
    assert project.file("run.json")["apps"]["desk"]["pinned"] is False
    assert "unpinned" in (project.runs[-1] / "report.html").read_text(encoding="utf-8")


ADAPTER_GATE = """
  - id: adapter-does-something
    metric: tune.liveness
    rule: at_least
    threshold: 0.01
    statistic: total
"""


def test_gates_of_an_adapter_wait_for_one(tmp_path: Path) -> None:
    """Taking the adapter out of app.yaml is one line: its gates do not apply then, and the others decide."""
    project = make_project(tmp_path)
    project.write({"suites/desk/gates.yaml": GATES.rstrip() + ADAPTER_GATE})
    project.branch()
    assert project.run("gate") == 0
    gate = project.gate_named("adapter-does-something")
    assert (gate["verdict"], gate["reason"]) == ("not_applicable", "the app names no adapter that has a recipe here")
    assert [stage["name"] for stage in project.file("verdict.json")["stages"]] == ["regression"]


def test_profile_chooses_the_gates(tmp_path: Path) -> None:
    """A gate that belongs only to the nightly profile decides there and nowhere else."""
    project = make_project(tmp_path)
    project.edit("suites/desk/gates.yaml", "threshold: 0.8}", "threshold: 0.8, profiles: [nightly]}")
    project.commit()
    project.branch()
    assert project.run("gate", "--profile", "nightly") == 0
    assert [gate["id"] for gate in project.file("verdict.json")["gates"]] == ["level", "no-worse"]
    project.run("gate")
    assert [gate["id"] for gate in project.file("verdict.json")["gates"]] == ["no-worse"]


def test_approval_lets_an_undecided_run_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Approved by a named person, the same bytes exit 0 on the next run, and the verdict stays inconclusive."""
    project = make_project(tmp_path, count=8)
    project.branch()
    assert project.run("gate") == 2
    until = (datetime.now(UTC).date() + timedelta(days=9)).isoformat()
    assert project.run("approve", "latest", "--as", "Dana Reyes", "--note", "checked by hand", "--expires", until) == 0
    assert project.run("gate") == 0
    verdict = project.file("verdict.json")
    assert (verdict["verdict"], verdict["exit_code"]) == ("inconclusive", 0)
    assert verdict["approval"]["name"] == "Dana Reyes"
    project.write({DESK: REWORDED})
    assert project.run("gate") == 2


def test_expired_approval_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An expiry in the past is refused with 64; a committed approval past its day leaves the run at 2 and says so."""
    project = make_project(tmp_path, count=8)
    project.branch()
    project.run("gate")
    assert project.run("approve", "latest", "--as", "Dana", "--note", "n", "--expires", "2020-01-31") == 64
    assert "2020-01-31" in capsys.readouterr().err
    until = (datetime.now(UTC).date() + timedelta(days=9)).isoformat()
    project.run("approve", "latest", "--as", "Dana", "--note", "n", "--expires", until)
    project.edit("suites/approvals.jsonl", until, "2020-01-31")
    assert project.run("gate") == 2
    assert any("expired on 2020-01-31" in reason for reason in project.file("verdict.json")["reasons"])


def test_failed_run_is_never_approved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Approving a run that failed is refused: a fail is repaired."""
    project = make_project(tmp_path)
    project.branch()
    project.write({DESK: ALWAYS_OTHER})
    assert project.run("gate") == 1
    assert project.run("approve", "latest", "--as", "Dana", "--note", "n", "--expires", "2999-01-31") == 64
    assert "only an inconclusive verdict" in capsys.readouterr().err


def test_eval_measures_without_deciding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``eval`` gives the mean of every metric of one arm and writes no verdict."""
    project = make_project(tmp_path)
    project.branch()
    project.write({DESK: ALWAYS_OTHER})
    assert project.run("eval", "--app", "desk") == 0
    assert "0.5" in capsys.readouterr().out
    assert {row["variant"] for row in project.rows()} == {"candidate"}
    assert not (project.runs[-1] / "verdict.json").exists()
    assert project.run("eval", "--app", "desk", "--variant", "baseline") == 0
    assert {row["variant"] for row in project.rows()} == {"baseline"}


def test_report_is_rendered_again(tmp_path: Path) -> None:
    """``report`` writes the three files again from the run folder alone."""
    project = make_project(tmp_path)
    assert project.run("gate") == 0
    names = ("report.html", "summary.md", "junit.xml")
    before = {name: (project.runs[-1] / name).read_bytes() for name in names}
    for name in names:
        (project.runs[-1] / name).unlink()
    assert project.run("report", "latest") == 0
    assert {name: (project.runs[-1] / name).read_bytes() for name in names} == before
