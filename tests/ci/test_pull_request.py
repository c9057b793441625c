"""The pull-request workflow from push to verdict: every step of it run in order, in a repository with a remote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ci.runner import Machine
from tests.ci.scratch import WORKFLOWS, Scratch, make_scratch
from tests.run.mart import mart_files
from tests.run.project import ALWAYS_OTHER, APP, REWORDED, SORT, SUITE, case_lines
from tests.run.project import GATES as REQUIRED

DESK, GATES = "suites/desk/desk.py", "suites/desk/gates.yaml"
GREEN = dict.fromkeys(("tests", "check", "adapters", "measure", "verdict"), "success")
APPROVE = ("--as", "Dana Reyes", "--note", "read by hand", "--expires", "2999-01-01")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """A branch beside a default branch."""
    return make_scratch(tmp_path)


def results(machine: Machine) -> dict[str, str]:
    """How each job ended."""
    return {name: job.result for name, job in machine.jobs.items()}


def guarded(step: Mapping[str, Any]) -> bool:
    """Whether a step runs only where an adapter is missing; tests/ci/test_adapters.py runs those."""
    return "steps.find.outputs.missing" in step.get("if", "")


def comment(machine: Machine) -> dict[str, object]:
    """What the run left for the comment."""
    told: dict[str, object] = json.loads((machine.artifacts / "comment/comment.json").read_text(encoding="utf-8"))
    return told


def test_regression_then_repair(scratch: Scratch) -> None:
    """A regression is red, and the comment names gate and cases; its repair is green."""
    scratch.project.write({DESK: ALWAYS_OTHER})
    red = scratch.pull_request()
    assert results(red) == GREEN | {"verdict": "failure"}
    told = comment(red)
    assert told["verdict"] == "fail"
    assert any("desk/no-worse" in reason for reason in told["reasons"])  # type: ignore[attr-defined]
    assert told["cases"][0]["title"].startswith("desk / case-")  # type: ignore[index]
    assert "::error file=suites/desk/desk.py,line=2," in red.jobs["verdict"].log
    assert "❌ Signoff: fail" in red.jobs["verdict"].summary
    assert (red.artifacts / "verdict/report.html").is_file()
    assert json.loads((red.artifacts / "verdict/findings.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
    scratch.project.write({DESK: SORT + "# Mended.\n"})
    green = scratch.pull_request()
    assert (green.conclusion, comment(green)["verdict"]) == ("success", "pass")


def test_every_step_was_executed(scratch: Scratch) -> None:
    """No ``run:`` is left to hope: a green run executes each in order; test_adapters runs those of missing adapters."""
    scratch.project.write({DESK: REWORDED})
    green = scratch.pull_request()
    assert green.conclusion == "success"
    workflow = yaml.safe_load((scratch.project.root / WORKFLOWS / "pull-request.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if not guarded(step)]
    commands = [step["run"] for step in steps if "run" in step]
    assert green.executed == commands
    run = json.loads((green.artifacts / "verdict/run.json").read_text(encoding="utf-8"))
    assert (run["dirty"], run["commit"]) == (False, green.github["sha"])
    assert comment(green)["reasons"] == ["every required gate passed (2 passed)"]


def test_nothing_affected_is_green_and_says_so(scratch: Scratch) -> None:
    """A change of a text that nothing reads measures nothing; the required job still reports."""
    scratch.project.write({"README.md": "hello"})
    green = scratch.pull_request()
    assert results(green) == GREEN | {"measure": "skipped"}
    assert comment(green)["reasons"] == ["every app and its yardstick are those of the baseline, byte for byte"]


def test_a_mart_alone_is_one_job_for_all_apps(tmp_path: Path) -> None:
    """Other rows of a mart: every app is held against them and nothing else is measured; a case among them is red."""
    till = {"app.yaml": APP.replace("name: desk", "name: till"), "desk.py": SORT, "suite.yaml": SUITE}
    till |= {"gates.yaml": REQUIRED, "cases/all.jsonl": case_lines(60)}
    scratch = make_scratch(tmp_path, files={f"suites/till/{name}": text for name, text in till.items()} | mart_files())
    scratch.project.write(mart_files(["nothing of the suite stands in this row"]))
    green = scratch.pull_request()
    assert results(green) == GREEN
    plan = json.loads((green.artifacts / "affected/affected.json").read_text(encoding="utf-8"))
    assert plan["jobs"] == [{"stage": "data", "apps": ["desk", "till"]}]
    assert plan["apps"]["till"]["because"] == ["mart tickets changed: raw/tickets.jsonl"]
    assert green.executed.count("python .github/scripts/measure.py") == 1
    scratch.project.write(mart_files(["Message 3 about money!"]))
    red = scratch.pull_request()
    assert results(red) == GREEN | {"verdict": "failure"}
    assert comment(red)["verdict"] == "fail"
    assert "case case-003 stands in T-08" in str(comment(red)["reasons"])


def test_undecided_is_red_until_approved(tmp_path: Path) -> None:
    """Ten cases prove nothing: red, with the next action; an approval that is pushed with the change turns it green."""
    scratch = make_scratch(tmp_path, count=10)
    scratch.project.write({DESK: REWORDED})
    red = scratch.pull_request()
    assert results(red)["verdict"] == "failure"
    told = comment(red)
    assert told["verdict"] == "inconclusive"
    assert str(told["next_action"]).startswith("add ")
    assert scratch.project.run("approve", str(red.artifacts / "verdict"), *APPROVE) == 0
    green = scratch.pull_request()
    assert (green.conclusion, comment(green)["approved"]) == ("success", True)


def test_a_loosened_gate_is_red_until_approved(scratch: Scratch) -> None:
    """A pull request cannot lower its own bar in silence."""
    scratch.project.write({DESK: REWORDED})
    scratch.project.edit(GATES, "threshold: 0.8", "threshold: 0.5")
    red = scratch.pull_request()
    assert results(red)["verdict"] == "failure"
    assert "gate level: threshold 0.8 -> 0.5" in str(comment(red)["yardstick"])
    assert "::warning file=suites/desk/gates.yaml,line=2," in red.jobs["verdict"].log
    assert scratch.project.run("approve", str(red.artifacts / "verdict"), *APPROVE) == 0
    assert scratch.pull_request().conclusion == "success"


def test_a_runner_that_dies_is_red(scratch: Scratch) -> None:
    """The machine of a stage vanishes in the middle: no folder comes, and the required job is red and says which."""
    scratch.project.write({DESK: REWORDED})
    red = scratch.pull_request(lost="measure.py")
    assert results(red) == GREEN | {"measure": "failure", "verdict": "failure"}
    assert comment(red)["reasons"] == ["job measure failed", "stage regression left no folder"]
    assert comment(red)["verdict"] == "error"


@pytest.mark.parametrize("job", ["tests", "check", "adapters", "measure"])
def test_a_cancelled_job_is_red(scratch: Scratch, job: str) -> None:
    """Whatever did not come to its end leaves the required job red, never skipped."""
    scratch.project.write({DESK: REWORDED})
    red = scratch.pull_request(cancel=frozenset({job}))
    assert results(red)["verdict"] == "failure"
    assert comment(red)["verdict"] == "error"
    assert f"job {job} was cancelled" in comment(red)["reasons"]  # type: ignore[operator]


def test_failing_tests_are_red_beside_a_passing_gate(scratch: Scratch) -> None:
    """The gate's pass does not hide that the tests failed."""
    scratch.project.write({DESK: REWORDED, "suites/desk/other.py": "def broken(:\n"})
    red = scratch.pull_request()
    assert results(red)["tests"] == "failure"
    assert results(red)["verdict"] == "failure"
    assert comment(red)["reasons"][0] == "job tests failed"  # type: ignore[index]


def test_an_invalid_file_is_named_at_its_line(scratch: Scratch) -> None:
    """Nothing is measured, and the mistake is shown where it stands."""
    scratch.project.edit(GATES, "metric: right, rule: at_least", "metric: wrong, rule: at_least")
    red = scratch.pull_request()
    assert results(red) == GREEN | {"check": "failure", "measure": "skipped", "verdict": "failure"}
    assert "::error file=suites/desk/gates.yaml,line=1,title=Signoff check::gate 'level'" in red.jobs["check"].log
    assert comment(red)["reasons"][0] == "job check failed"  # type: ignore[index]


def test_a_part_that_was_tampered_with_is_red(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that changed between two jobs are refused with their name."""
    scratch.project.write({DESK: ALWAYS_OTHER})
    upload = "tests.ci.runner._Job._upload"
    from tests.ci import runner

    real = runner._Job._upload

    def tampering(self: runner._Job, given: dict[str, str]) -> bool:
        rows = self.work / given["path"] / "measurements/regression.jsonl"
        if given["name"] == "part-regression":
            rows.write_bytes(rows.read_bytes().replace(b'"value":0.0', b'"value":1.0'))
        return real(self, given)

    monkeypatch.setattr(upload, tampering)
    red = scratch.pull_request()
    assert results(red)["verdict"] == "failure"
    assert "is not what was written" in red.jobs["verdict"].log
    assert comment(red)["verdict"] == "error"


def test_merge_queue(scratch: Scratch) -> None:
    """In a merge queue the baseline is the group's base, even when the default branch already holds the change."""
    scratch.project.write({DESK: ALWAYS_OTHER})
    sha = scratch.push()
    project = scratch.project
    base = project.git("rev-parse", "origin/main")
    project.git("checkout", "--quiet", "--detach", sha)
    project.write({"README.md": "later"})
    project.commit()
    project.git("push", "--quiet", "origin", "HEAD:main")
    event = {"merge_group": {"base_sha": base}}
    github = {"event_name": "merge_group", "ref": "refs/pull/1/merge", "sha": sha}
    red = scratch.run("pull-request.yml", event, github)
    assert results(red)["verdict"] == "failure"
    assert comment(red)["verdict"] == "fail"
