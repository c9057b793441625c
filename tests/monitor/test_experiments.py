"""``signoff ab report`` on planted experiments: better, worse, undecided, and those that must not be believed."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.cli import main
from harness.serve.gateway.traffic import SplitTraffic
from harness.spec.measurement import read_measurements
from harness.spec.traffic import load_traffic
from tests.monitor.traffic import AT, MONITOR, NOW, log_of, rated, row, watched_project, write_log
from tests.run.project import Project

SINCE = (NOW - timedelta(days=3)).isoformat()
TRAFFIC = """\
experiment: tone
variants:
  - {name: canary, share: 40, serves: candidate}
  - {name: control, share: 60, ref: HEAD}
minimum_sample: 300
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A desk with two arms, not yet committed."""
    made = watched_project(tmp_path)
    made.write({"suites/desk/traffic.yaml": TRAFFIC})
    return made


def visits(
    project: Project, users: int, good: dict[str, float], thumbs: dict[str, float] | None = None, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """One to three requests of each user, who are dealt their arm as the gateway deals them."""
    draw = random.Random(seed)
    split = SplitTraffic(load_traffic(project.root, ["desk"]), lambda: NOW)
    for number in range(users):
        user = f"user-{seed}-{number}"
        arm = split.arm("desk", user)
        assert arm is not None
        first = NOW - timedelta(hours=2) - timedelta(seconds=draw.random() * 200_000)
        for visit in range(draw.randint(1, 3)):
            at = first + timedelta(minutes=10 * visit)
            outcome = "ok" if draw.random() < good[arm.name] else "failed"
            found = row(
                number * 10 + visit + seed * 10**7, at, user=user, arm=arm.name, assigned=arm.by, outcome=outcome
            )
            yield found
            if thumbs and draw.random() < 0.6:
                thumb = "up" if draw.random() < thumbs[arm.name] else "down"
                yield rated(int(found["id"][1:]), at + timedelta(minutes=1), thumb=thumb)


def ask(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    capsys.readouterr()
    common = ["ab", "report", "--root", str(project.root), "--app", "desk", "--now", AT, "--json"]
    code = main([*common, *(args or ("--since", SINCE))])
    return code, orjson.loads(capsys.readouterr().out)


def answers(report: dict[str, Any]) -> dict[str, str]:
    """Answer by outcome of the arm canary."""
    return {each["id"]: each["answer"] for each in report["outcomes"]}


def test_a_better_arm_may_be_shipped(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """As available and better liked: ship, 0, with a row of the one table for each user and outcome."""
    good = {"canary": 0.99, "control": 0.99}
    write_log(log_of(project), visits(project, 4000, good, {"canary": 0.85, "control": 0.6}))
    code, report = ask(project, capsys)
    assert (code, report["answer"], answers(report)) == (0, "ship", {"available": "ship", "liked": "ship"}), report
    liked = next(each for each in report["outcomes"] if each["id"] == "liked")
    assert liked["low"] < 0.25 < liked["high"] and liked["low"] > 0.1
    assert "a person decides" in report["next_action"]
    rows = list(read_measurements(Path(report["run"]) / "measurements/monitor.jsonl"))
    assert {each.variant for each in rows} == {"candidate", "baseline"}
    assert sum(each.metric == "monitor.available" for each in rows) == 4000
    assert "experiment tone: ship" in (Path(report["run"]) / "summary.md").read_text()


def test_a_worse_arm_must_be_stopped(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Failing more often: abort, 1, and the next action takes the arm's share away."""
    write_log(
        log_of(project), visits(project, 4000, {"canary": 0.85, "control": 0.99}, {"canary": 0.9, "control": 0.6})
    )
    code, report = ask(project, capsys)
    assert (code, report["answer"], answers(report)["available"]) == (1, "abort", "abort")
    assert report["next_action"].startswith("set the share of arm canary to 0: available is worse")


def test_arms_that_do_the_same_go_on(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """No gain where a gain is asked for: continue, 2."""
    good = {"canary": 0.99, "control": 0.99}
    write_log(log_of(project), visits(project, 2000, good, {"canary": 0.7, "control": 0.7}))
    code, report = ask(project, capsys)
    assert (code, answers(report)["liked"]) == (2, "continue")
    assert report["next_action"].startswith("let it run: liked is undecided")


def test_too_few_users_are_never_compared(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the minimum sample even a plain difference says nothing."""
    write_log(log_of(project), visits(project, 500, {"canary": 0.5, "control": 0.99}))
    code, report = ask(project, capsys)
    assert (code, set(answers(report).values())) == (2, {"continue"})
    assert "300 of each are needed" in report["outcomes"][0]["reason"]


def test_users_that_got_lost_block_everything(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """When an arm loses users, neither ship nor abort is said: those who are left are not alike."""
    rows = visits(project, 4000, {"canary": 0.7, "control": 0.99})
    write_log(
        log_of(project), (each for each in rows if each.get("arm") != "canary" or zlib.crc32(each["user"].encode()) % 5)
    )
    code, report = ask(project, capsys)
    assert (code, report["answer"]) == (2, "continue")
    assert "sample ratio mismatch" in report["blocked"][0]
    assert report["next_action"].startswith("repair the experiment: sample ratio mismatch")


def test_feedback_that_one_arm_provokes_is_not_compared(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """If users of one arm rate more often, ratings tell who rates and not what is better."""
    draw = random.Random(5)
    found = []
    keep = True
    for each in visits(project, 4000, {"canary": 0.99, "control": 0.99}, {"canary": 0.8, "control": 0.6}):
        if each["kind"] == "request":
            keep = each["arm"] != "canary" or draw.random() < 0.5
        elif not keep:
            continue
        found.append(each)
    write_log(log_of(project), found)
    code, report = ask(project, capsys)
    assert (code, answers(report)) == (2, {"available": "ship", "liked": "continue"})
    assert "those who are missing could decide" in report["outcomes"][1]["reason"]


def test_testers_and_strangers_do_not_count(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests that came to their arm by a list, or without a user, are left out and counted."""
    good = {"canary": 0.99, "control": 0.99}
    write_log(log_of(project), visits(project, 1000, good))
    odd = [row(n, NOW - timedelta(hours=5), arm="canary", assigned="allowed", outcome="failed") for n in range(400)]
    odd += [row(n, NOW - timedelta(hours=5), arm="canary", assigned="request", user="") for n in range(900, 1300)]
    write_log(log_of(project), odd)
    _, report = ask(project, capsys)
    assert (report["other_requests"], sum(report["users"].values()), report["blocked"]) == (800, 1000, [])


def test_an_arm_that_changes_meanwhile_is_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A deployment inside the period makes an arm two versions; the report names them."""
    rows = list(visits(project, 800, {"canary": 0.99, "control": 0.99}))
    for each in rows:
        if each["arm"] == "canary" and each["received"] > (NOW - timedelta(days=1)).isoformat():
            each["digest"] = "e" * 64
    write_log(log_of(project), rows)
    _, report = ask(project, capsys)
    (said,) = report["warnings"]
    assert "arm canary answered as 2 versions (dddddddddddd " in said and "eeeeeeeeeeee " in said


def test_users_count_once_they_have_been_there(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Users who came within the horizon are dealt, but their values may still grow: they wait."""
    good = {"canary": 0.99, "control": 0.99}
    write_log(log_of(project), visits(project, 1000, good))
    late = (row(n, NOW - timedelta(minutes=20), user=f"late-{n}", arm="control", assigned="user") for n in range(30))
    write_log(log_of(project), late)
    _, report = ask(project, capsys)
    assert (report["young"], report["outcomes"][0]["n"]) == (30, 1000)


def test_what_comes_after_the_horizon_is_left_out(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A user's value is final when it is counted: later failures change nothing."""
    rows = list(visits(project, 1000, {"canary": 1.0, "control": 1.0}))
    write_log(log_of(project), rows)
    before = ask(project, capsys)[1]["outcomes"][0]
    firsts: dict[str, dict[str, Any]] = {}
    for each in rows:
        firsts.setdefault(each["user"], each)
    late = [
        {**each, "id": f"{each['id']}-late", "outcome": "failed",
         "received": (datetime.fromisoformat(each["received"]) + timedelta(minutes=70)).isoformat()}
        for each in firsts.values()
    ]  # fmt: skip
    write_log(log_of(project), late)
    assert ask(project, capsys)[1]["outcomes"][0] == before


def test_a_ramp_inside_the_period_is_noticed(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Users who met both arms show that the shares changed meanwhile."""
    good = {"canary": 0.99, "control": 0.99}
    rows = list(visits(project, 1500, good))
    write_log(log_of(project), rows)
    moved = {each["user"]: each for each in rows if each["arm"] == "control"}
    again = ({**each, "id": f"{each['id']}b", "arm": "canary"} for each in list(moved.values())[:60])
    write_log(log_of(project), again)
    code, report = ask(project, capsys)
    assert (code, report["moved"]) == (2, 60)
    assert "60 of 1500 users met more than one arm" in report["blocked"][-1]


def test_only_the_period_of_the_present_shares_counts(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --since the later of the file's start and its last commit is where counting begins."""
    code, report = ask(project, capsys, "--traces", str(project.root))
    assert code == 64 and "Name the time by --since" in report["error"]
    changed = NOW - timedelta(days=1)
    monkeypatch.setenv("GIT_COMMITTER_DATE", changed.isoformat())
    project.commit("split")
    write_log(log_of(project), visits(project, 1000, {"canary": 0.99, "control": 0.99}))
    code, report = ask(project, capsys, "--traces", str(log_of(project)))
    assert report["since"] == changed.isoformat() and report["since_because"] == "the last commit of traffic.yaml"
    assert 200 < sum(report["users"].values()) < 800


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("traffic", "{name: canary, share: 40", "{name: canary, share: 0", "splits no traffic"),
        ("monitor", MONITOR[MONITOR.index("ab:") :], "", "has no 'ab'"),
        ("monitor", "  horizon: 1h", "  horizon: 1h\n  control: blue", "ab.control is 'blue'"),
        ("monitor", "{indicator: liked,", "{indicator: loved,", "no indicator 'loved'"),
    ],
)
def test_what_is_not_declared_is_named(
    project: Project, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, said: str
) -> None:
    """An experiment without arms, outcomes or a control that exists ends with 64."""
    project.edit(f"suites/desk/{name}.yaml", old, new)
    if name == "traffic":
        project.edit("suites/desk/traffic.yaml", "share: 60", "share: 100")
    log_of(project).mkdir(parents=True)
    code, report = ask(project, capsys)
    assert code == 64 and said in report["error"]


def test_text_for_people(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json every outcome is a line, and the last line is the next action."""
    write_log(log_of(project), visits(project, 1500, {"canary": 0.99, "control": 0.99}))
    capsys.readouterr()
    assert main(["ab", "report", "--root", str(project.root), "--app", "desk", "--now", AT, "--since", SINCE]) == 2
    out = capsys.readouterr().out
    assert "experiment tone, control control, since 2026-11-17T12:00:00+00:00; users: canary " in out
    assert "users, 95 % confidence each way)" in out and "case" not in out
    assert out.rstrip().splitlines()[-1].startswith("next: let it run: liked is undecided")


@pytest.mark.parametrize("effect", [0.0, -0.03])
def test_promises_hold_over_whole_experiments(effect: float) -> None:
    """Of 400 experiments looked at ten times each, those without a difference are stopped in at most 5 % plus error,
    and those that lose exactly the margin are shipped in at most 5 % plus error."""
    import numpy as np

    from harness.stats.sequential import effect_sequence

    generator = np.random.default_rng(6)
    shipped = stopped = 0
    for _ in range(400):
        treated = generator.random(6000) < 0.4
        outcomes = (generator.random(6000) < 0.9 + effect * treated).astype(float)
        looks = [effect_sequence(outcomes[:n], treated[:n], 0.4, tuned_for=600) for n in range(800, 6001, 520)]
        shipped += any(look.low(0.95) > -0.03 for look in looks)
        stopped += any(look.high(0.95) < 0 for look in looks)
    assert (stopped if effect == 0 else shipped) / 400 <= 0.05 + 2.6 * (0.05 * 0.95 / 400) ** 0.5
    assert (shipped if effect == 0 else stopped) / 400 > 0.5
