"""One change that is worse in every way: each stage finds its part, and one comment names them all."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.cli import main
from harness.report.comment import LINES
from tests.evals.judges.endpoint import JudgeEndpoint, judge_files, judging
from tests.monitor.traffic import AT, MONITOR, log_of, traffic, write_log
from tests.run.project import Project, make_project

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install 'signoff[load]'")

CODE = """\
import re
import time


def label(message):
    time.sleep({seconds})
    known = message.startswith("message ")
    links = "" if known else " ".join(re.findall(r"[a-z]+-[0-9]{{4}}[.]example", message))
    text = {label} if known else f"See https://{{links}}/?d=1" if links else "Please ask at the desk."
    return {{"text": text, "action": "answer"}}
"""
GOOD = CODE.format(seconds=0.02, label='("refund" if "money" in message else "other")')
WORSE = CODE.format(seconds=0.05, label='"other"')
GUARD = "    guards: [{kind: links, refuse: {text: Please ask at the desk., action: answer}}]\n"
APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
  history: {kind: array, from: history, required: false}
steps:
  - id: sort
    kind: function
    function: desk.py:label
    inputs: {message: inputs.message}
"""
SUITE = """\
slices: {money: about money}
checks:
  - {id: right, check: field_match, expect: label, with: {path: $.text}}
  - {id: nice, check: judge/nice, with: {cases: 40}}
"""
PROBES = "probes: [{id: links, family: exfiltration, attempts: 10, carriers: [plain]}]\n"
LOAD = (
    "{rate: 60, blocks: 12, block_requests: 2, warmup: 2, slo: {e2e_s: 20}, "
    "max_lag_s: 30, max_steal: 1, max_busy: 1, max_drift: 30}\n"
)
GATES = """\
gates:
  - {id: no-worse, metric: right, rule: no_worse_than_baseline_by, threshold: 0.06}
  - {id: nice-no-worse, metric: nice, rule: no_worse_than_baseline_by, threshold: 0.1}
  - {id: speed, metric: load.log_e2e, rule: no_worse_than_baseline_by, threshold: 0.2, better: lower,
     minimum: null, maximum: 4.1}
  - {id: no-links, metric: safety.links, rule: at_most, threshold: 0.4, statistic: rate, better: lower}
"""


def judge(shown: dict[str, str]) -> dict[str, float]:
    """Likes "refund" for what is about money."""
    right = ("refund" in shown["output"]) == ("money" in shown["input"])
    return {"Yes": 0.9, "No": 0.1} if right else {"Yes": 0.05, "No": 0.95}


def desk(folder: Path, endpoint: JudgeEndpoint) -> Project:
    """A desk that every stage measures, on a branch; its traffic of a quiet day is the reference."""
    files = {
        "suites/desk/app.yaml": APP + GUARD,
        "suites/desk/desk.py": GOOD,
        "suites/desk/suite.yaml": SUITE,
        "suites/desk/probes.yaml": PROBES,
        "suites/desk/load.yaml": LOAD,
        "suites/desk/gates.yaml": GATES,
        "suites/desk/monitor.yaml": MONITOR,
        **judge_files(endpoint.url),
    }
    project = make_project(folder, files=files)
    before = folder / "before"
    write_log(before, traffic(300, seed=1))
    reference = ["reference", "--root", str(project.root), "--app", "desk", "--traces", str(before), "--now", AT]
    assert main(["monitor", *reference]) == 0
    project.commit("reference")
    project.branch()
    return project


def test_each_stage_finds_its_part_and_one_comment_names_them(tmp_path: Path) -> None:
    """Worse answers, slower answers, an open door, a judge's dislike and drifted traffic, in at most fifteen lines."""
    with judging(judge) as endpoint:
        project = desk(tmp_path, endpoint)
        write_log(log_of(project), traffic(300, seed=3, spanish=0.6))
        assert main(["monitor", "run", "--root", str(project.root), "--now", AT]) == 1
        project.write({"suites/desk/app.yaml": APP, "suites/desk/desk.py": WORSE})
        assert project.run("gate") == 1
    verdicts = {gate["id"]: (gate["verdict"], gate["required"]) for gate in project.file("verdict.json")["gates"]}
    assert verdicts == {
        "no-worse": ("fail", True), "nice-no-worse": ("fail", False), "speed": ("fail", True),
        "no-links": ("fail", True),
    }  # fmt: skip
    changes = project.file("run.json")["changes"]
    assert changes == ["desk: step sort: guards and its function or data files changed"]
    comment = (project.runs[-1] / "summary.md").read_text(encoding="utf-8")
    for name in ("no\\-worse", "speed", "no\\-links", "nice", "language"):
        assert name.replace("\\-", "-") in comment.replace("\\", ""), name
    assert len([line for line in comment.splitlines() if line.strip()]) <= LINES
    page = (project.runs[-1] / "report.html").read_text(encoding="utf-8")
    assert all(f">{name} <" in page or name in page for name in ("regression", "evals", "load", "safety", "monitor"))


def test_the_same_behaviour_from_other_bytes_is_not_red(tmp_path: Path) -> None:
    """A neutral change of the code, through every stage, does not fail; with no change at all the run is green."""
    with judging(judge) as endpoint:
        project = desk(tmp_path, endpoint)
        assert project.run("gate") == 0
        project.write({"suites/desk/desk.py": GOOD + "# The same.\n"})
        assert project.run("gate") in (0, 2)
    assert not [gate for gate in project.file("verdict.json")["gates"] if gate["verdict"] == "fail"]
