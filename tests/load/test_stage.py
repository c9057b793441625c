"""The load stage of a whole run: real processes on loopback, no model."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.spec.load import METRICS
from harness.store import cache_home
from tests.load.streaming import Script, streaming
from tests.run.project import APP, Project, http_app, interrupt, make_project, serving, sort, wait_for

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs locust: pip install 'signoff[load]'")
DESK = "suites/desk/desk.py"
LOAD = "suites/desk/load.yaml"
SLEEPING = """\
import time


def label(message):
    time.sleep({seconds})
    return "refund" if "money" in message else "other"
"""
# A machine that runs tests is busy; what the limits do is tested on its own.
QUIET = "max_lag_s: 30, max_steal: 1, max_busy: 1, max_drift: 30"
PROFILE = f"{{rate: 80, blocks: 12, block_requests: 2, warmup: 2, slo: {{e2e_s: 20}}, {QUIET}}}\n"
GATES = """\
gates:
  - {id: speed, metric: load.log_e2e, rule: no_worse_than_baseline_by, threshold: 0.2, better: lower,
     minimum: null, maximum: 4.1}
  - {id: failed, metric: load.failed, rule: at_most, threshold: 0.3, better: lower}
  - {id: goodput, metric: load.within_slo, rule: at_least, threshold: 0.6}
"""


def loaded(folder: Path, **files: str) -> Project:
    """A project with a load profile on a branch."""
    given = {DESK: SLEEPING.format(seconds=0.02), LOAD: PROFILE, "suites/desk/gates.yaml": GATES, **files}
    project = make_project(folder, files=given)
    project.branch()
    return project


def load_rows(project: Project) -> list[dict[str, Any]]:
    """The rows of the newest run."""
    return project.rows("measurements/load.jsonl")


def stage(project: Project) -> dict[str, Any]:
    """What the newest run says of the stage."""
    (found,) = [each for each in project.file("run.json")["stages"] if each["name"] == "load"]
    return dict(found)


def test_a_planted_slowdown_is_found(tmp_path: Path) -> None:
    """An app that takes three times as long fails its latency gate, and keeps what is promised in absolute terms."""
    project = loaded(tmp_path)
    project.write({DESK: SLEEPING.format(seconds=0.06)})
    assert project.run("gate", "--only", "load") == 1
    assert project.gate_named("speed")["verdict"] == "fail"
    assert project.gate_named("speed")["clusters"] == 12
    assert project.gate_named("failed")["verdict"] == "pass"
    rows = load_rows(project)
    assert len(rows) == 12 * 2 * 2 * len(METRICS)
    pairs = {arm: {(r["case"], r["group"]) for r in rows if r["variant"] == arm} for arm in ("baseline", "candidate")}
    assert pairs["baseline"] == pairs["candidate"]
    artifacts = project.runs[-1] / "artifacts/load/desk"
    assert len((artifacts / "samples.jsonl").read_bytes().splitlines()) == 12 * 2 * 2 + 4
    assert {path.name for path in artifacts.iterdir()} >= {"schedule.json", "summary.json", "locust.html", "plan.json"}
    summary = orjson.loads((artifacts / "summary.json").read_bytes())
    assert summary["arms"]["candidate"]["e2e_s"]["p50"] > summary["arms"]["baseline"]["e2e_s"]["p50"]


def test_an_unchanged_behaviour_does_not_fail_and_is_not_measured_twice(tmp_path: Path) -> None:
    """Other bytes that do the same never fail here; a second run takes the result of the first, and says so."""
    project = loaded(tmp_path)
    project.write({DESK: SLEEPING.format(seconds=0.02) + "# The same.\n"})
    assert project.run("gate", "--only", "load") in (0, 2)
    first = project.gate_named("speed")
    assert first["verdict"] in ("pass", "inconclusive")
    project.run("gate", "--only", "load")
    assert project.gate_named("speed")["estimate"] == first["estimate"]
    assert (stage(project)["calls"], stage(project)["cached"]) == (0, 52)
    assert all(row["cached"] for row in load_rows(project))
    kept = sorted((cache_home() / "load").glob("*"))
    assert project.run("load") == 0
    assert stage(project)["calls"] == 52
    assert sorted((cache_home() / "load").glob("*")) == kept
    project.run("gate", "--only", "load")
    assert "that result is used" in stage(project)["found"][0]


def test_a_baseline_that_refuses_the_cases_is_undecided(tmp_path: Path) -> None:
    """An input that only the candidate knows: the baseline's refusals are errors, not a broken stage."""
    project = loaded(tmp_path)
    project.edit("suites/desk/app.yaml", "inputs:\n", "inputs:\n  tier: {kind: string, required: false}\n")
    cases = (project.root / "suites/desk/cases/all.jsonl").read_text().replace('"inputs":{', '"inputs":{"tier":"gold",')
    project.write({"suites/desk/cases/all.jsonl": cases})
    assert project.run("gate", "--only", "load") == 2
    assert stage(project)["status"] == "ok"
    assert "tier" in project.gate_named("speed")["reason"]
    assert project.gate_named("failed")["verdict"] == "pass"


def test_nothing_changed_measures_one_arm(tmp_path: Path) -> None:
    """Equal digests: only the candidate is asked, paired gates do not apply, absolute ones decide."""
    project = loaded(tmp_path)
    assert project.run("gate", "--only", "load") == 0
    assert {row["variant"] for row in load_rows(project)} == {"candidate"}
    verdicts = {gate["id"]: gate["verdict"] for gate in project.file("verdict.json")["gates"]}
    assert verdicts == {"speed": "not_applicable", "failed": "pass", "goodput": "pass"}


def test_a_generator_that_lags_voids_the_run(tmp_path: Path) -> None:
    """No row has a value, every one says why, and the verdict is open with that reason; nothing of it is kept."""
    project = loaded(tmp_path, **{LOAD: PROFILE.replace("max_lag_s: 30", "max_lag_s: 0.000001")})
    assert project.run("gate", "--only", "load") == 2
    rows = load_rows(project)
    assert {row["status"] for row in rows} == {"unscored"}
    assert all("the generator sent late" in row["reason"] for row in rows)
    assert stage(project)["status"] == "ok"
    assert stage(project)["found"][0].startswith("desk: void, nothing is decided on it: the generator sent late")
    assert "the generator sent late" in project.gate_named("failed")["reason"]
    assert not list((cache_home() / "load").glob("*"))


def test_a_server_of_another_version_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running server that serves other digests ends with exit code 3 and both digests in the message."""
    project = loaded(tmp_path)
    with streaming(Script()) as service:
        assert project.run("load", "--app", "desk", "--url", service.url) == 3
    out = capsys.readouterr().out
    assert "desk is served with digest d1d1d1d1d1d1, under review is" in out
    assert {row["value"] for row in load_rows(project)} == {None}


def test_a_running_server_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the digest under review a server is measured as it is, at the rate asked; no gate takes such a run."""
    project = loaded(tmp_path)
    assert project.run("check", "--json") == 0
    digest = orjson.loads(capsys.readouterr().out)["apps"]["desk"]
    with streaming(Script(first_s=0.01, gap_s=0.01, tokens=4, digest=digest)) as service:
        assert project.run("load", "--app", "desk", "--url", service.url, "--rate", "200") == 0
    values = {(row["metric"], row["status"]) for row in load_rows(project)}
    assert ("load.tpot_s", "scored") in values
    assert {row["variant"] for row in load_rows(project)} == {"candidate"}
    capsys.readouterr()
    assert project.run("gate", "--from", str(project.runs[-1])) == 64
    assert "with other cases, checks or gates" in capsys.readouterr().err


def test_a_gateway_that_dies_breaks_the_stage(tmp_path: Path) -> None:
    """What was measured before it is kept, the rest are errors, and the exit code says that nothing was proven."""
    project = loaded(tmp_path, **{LOAD: PROFILE.replace("rate: 80", "rate: 4")})
    process = project.start("gate", "--only", "load")
    wait_for(lambda: bool(project.runs) and _lines(project.runs[-1] / "artifacts/load/desk/samples.jsonl") > 8)
    os.kill(_child(process.pid, "server_child"), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, out + err
    assert stage(project)["status"] == "broken"
    assert "signal 9" in stage(project)["reason"]
    assert {row["status"] for row in load_rows(project) if row["metric"] == "load.e2e_s"} == {"scored", "error"}


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    """Ctrl-C ends the generator, the report is written, and no process is left."""
    project = loaded(tmp_path, **{LOAD: PROFILE.replace("rate: 80", "rate: 4")})
    process = project.start("gate", "--only", "load")
    wait_for(lambda: bool(project.runs) and _lines(project.runs[-1] / "artifacts/load/desk/samples.jsonl") > 8)
    child = _child(process.pid, "locust")
    code, _, _ = interrupt(process)
    assert code == 3
    assert stage(project)["reason"] == "desk: interrupted"
    assert {row["status"] for row in load_rows(project) if row["metric"] == "load.e2e_s"} == {"scored", "error"}
    assert (project.runs[-1] / "report.html").exists()
    assert not Path(f"/proc/{child}").exists()


def test_a_service_with_a_baseline_url_is_compared(tmp_path: Path) -> None:
    """An app of one http step is asked through the gateway, its old version where ``baseline_url`` says."""
    with serving(sort) as new, serving(sort) as old:
        app = http_app(f"{new.url}/sort", f"baseline_url: {old.url}/sort")
        project = loaded(tmp_path, **{"suites/desk/app.yaml": app})
        assert project.run("gate", "--only", "load") in (0, 2)
        assert stage(project)["status"] == "ok"
        assert len(new.asked) == 27
        assert len(old.asked) == 27
    assert {row["variant"] for row in load_rows(project)} == {"baseline", "candidate"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--url", "http://203.0.113.5/v1"], "allow that with --allow-remote"),
        (["--url", "ftp://127.0.0.1"], "no http address"),
        (["--allow-remote"], "belong to --url"),
        (["--rate", "0"], "--rate is 0"),
        (["--rate", "nan"], "--rate is nan"),
        (["--url", "http://127.0.0.1:1/v1", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY, which is not set"),
        (["--app", "nobody"], "no app 'nobody'"),
    ],
)
def test_mistakes_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    """They are said before anything is sent, with exit code 64."""
    project = loaded(tmp_path)
    assert project.run("load", *args) == 64
    assert said in capsys.readouterr().err
    assert not (project.root / "reports").exists()


def test_check_counts_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate that its pairs of blocks can never pass is named, with how many it needs."""
    gates = GATES.replace("threshold: 0.3", "threshold: 0.1")
    project = loaded(tmp_path, **{"suites/desk/gates.yaml": gates, LOAD: "{blocks: 8, block_requests: 50}\n"})
    assert project.run("check") == 0
    out = capsys.readouterr().out
    assert "gate 'speed' has 8 blocks and can hardly ever pass: it needs at least 10; add 2 blocks" in out
    assert "gate 'failed' has 8 blocks and can never pass: it needs at least 25; add 17 blocks" in out


def test_an_app_without_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which file is missing."""
    project = make_project(tmp_path, files={"suites/desk/app.yaml": APP})
    assert project.run("load", "--app", "desk") == 64
    assert "suites/desk/load.yaml" in capsys.readouterr().err


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _child(parent: int, named: str) -> int:
    """The process id of a child of ``parent`` whose command line holds ``named``."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                ours = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
                if ours and named in (folder / "cmdline").read_text():
                    return int(folder.name)
            except OSError:
                continue
    raise AssertionError(f"no child of {parent} runs {named}")
