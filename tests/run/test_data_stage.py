"""The stage data and its gate: a case that a mart holds is named, and blocks until it is gone or waived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.run.mart import MART, SQL, mart_files
from tests.run.project import GATES, REWORDED, Project, make_project

DESK = "suites/desk/desk.py"
LEAKS = ("Message 3 about money!", "Hello, message 7 about money", "message  12 about socks")
WAIVERS = "suites/desk/waivers.yaml"


def waiver(case: str, row: str, expires: str = "2999-01-01", mart: str = "tickets") -> str:
    """One waiver of the file."""
    return f"  - {{case: {case}, mart: {mart}, row: {row}, reason: read, by: Dana Reyes, expires: {expires}}}\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marts and pairs of this test alone."""
    monkeypatch.setenv("SIGNOFF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A branch of a repository with a mart that shares nothing with the suite."""
    made = make_project(tmp_path, files=mart_files())
    made.branch()
    made.write({DESK: REWORDED})
    return made


def seen(project: Project) -> list[str]:
    """The cases that the newest run saw in a mart."""
    return [row["case"] for row in project.rows("measurements/data.jsonl") if row["value"] and "seen" in row["metric"]]


def test_a_planted_leak_of_three_cases_is_caught_by_name(project: Project) -> None:
    """Gate, report and command name case, mart, row and split; the gate fails, and the suite keeps all its cases."""
    assert project.run("gate") == 0
    assert project.gate_named("tests-unseen")["verdict"] == "pass"
    assert seen(project) == []
    project.write(mart_files(LEAKS))
    assert project.run("gate") == 1
    assert seen(project) == ["case-003", "case-007", "case-012"]
    gate = project.gate_named("tests-unseen")
    assert (gate["verdict"], gate["estimate"], gate["n"], gate["required"]) == ("fail", 3.0, 60, True)
    for case, row in (("case-003", "T-08"), ("case-007", "T-09"), ("case-012", "T-10")):
        assert f"case {case} stands in {row} of mart tickets (" in gate["reason"]
    assert project.file("verdict.json")["next_action"].startswith(
        "remove that row or that case, or waive the pair in suites/desk/waivers.yaml: case case-003 stands in T-08"
    )
    page = (project.runs[-1] / "report.html").read_text(encoding="utf-8")
    assert "desk: 3 of its cases seen: case-003 in T-08 of mart tickets (" in page
    assert ": 11 rows (t" in page
    assert "paraphrase" in page
    pairs = project.file("artifacts/data/contamination.json")["desk"]
    assert [(pair["case"], pair["row"]) for pair in pairs] == [
        ("case-003", "T-08"), ("case-007", "T-09"), ("case-012", "T-10"),
    ]  # fmt: skip
    assert {pair["split"] for pair in pairs} <= {"train", "test"}
    assert pairs[0]["shared"] == "message 3 about money"


def test_one_leak_is_as_bad_as_three(project: Project) -> None:
    """The count is exact: one of sixty fails."""
    project.write(mart_files(LEAKS[:1]))
    assert project.run("gate") == 1
    assert project.gate_named("tests-unseen")["estimate"] == 1.0


def test_the_second_run_compares_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same mart and cases the pairs are kept; another row is compared."""
    project.write(mart_files(LEAKS))
    assert project.run("gate") == 1

    def never(*args: object, **more: object) -> None:
        raise AssertionError(args)

    with monkeypatch.context() as patch:
        patch.setattr("harness.run.contamination.Finder", never)
        assert project.run("gate") == 1
        assert len(seen(project)) == 3
    project.write(mart_files(LEAKS[:2]))
    assert project.run("gate") == 1
    assert len(seen(project)) == 2


def test_waivers_count_until_they_expire(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A waived pair no longer counts and is shown as a move; an expired waiver is named, and so is an idle one."""
    project.write(mart_files(LEAKS))
    waived = waiver("case-003", "T-08") + waiver("case-007", "T-09") + waiver("case-012", "T-10")
    project.write({WAIVERS: "waivers:\n" + waived})
    assert project.run("gate") == 0
    assert seen(project) == []
    moves = project.file("verdict.json")["yardstick_moved"]
    assert [(move["kind"], move["effect"], move["approval"]) for move in moves] == [("waiver", "looser", False)] * 3
    old = waiver("case-003", "T-08", "2020-02-29") + waiver("case-007", "T-09") + waiver("case-012", "T-99")
    project.write({WAIVERS: "waivers:\n" + old})
    assert project.run("gate") == 1
    assert seen(project) == ["case-003", "case-012"]
    capsys.readouterr()
    assert project.run("check") == 0
    assert (
        "the waiver of case case-003 and T-08 of tickets by Dana Reyes expired on 2020-02-29" in capsys.readouterr().out
    )
    (stage,) = [stage for stage in project.file("run.json")["stages"] if stage["name"] == "data"]
    told = "\n".join(stage["found"])
    assert "the waiver of case case-003 by Dana Reyes expired on 2020-02-29" in told
    assert "the waiver of case case-012 and T-99 of tickets matches nothing; remove it" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("waivers:\n" + waiver("case-999", "T-08"), "no case 'case-999' in this suite"),
        ("waivers:\n" + waiver("case-003", "T-08") * 2, "are waived twice"),
        ("waivers:\n" + waiver("case-003", "T-08").replace("reason: read, ", ""), "missing field 'waivers.0.reason'"),
        ("waivers:\n" + waiver("case-003", "T-08").replace("Dana Reyes", "' '"), "waivers.0.by"),
        ("waivers:\n" + waiver("case-003", "T-08").replace("2999-01-01", "soon"), "waivers.0.expires"),
        ("waivers:\n" + waiver("case-003", "T-08").replace("mart:", "marts:"), "unknown key 'waivers.0.marts'"),
        ("waivers: []\n", "waivers"),
    ],
)
def test_bad_waivers(project: Project, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    """Each mistake is named with its file before anything runs."""
    project.write({WAIVERS: text})
    assert project.run("check") == 64
    told = capsys.readouterr().err
    assert WAIVERS in told
    assert said in told


STATED = "  - {id: tests-unseen, metric: data.seen, rule: at_most, threshold: 0, statistic: total, better: lower"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (STATED + ", required: false}\n", "required must be True, not False"),
        (STATED.replace("threshold: 0", "threshold: 1") + "}\n", "threshold must be 0"),
        (STATED + ", slice: money}\n", "slice must be 'all'"),
        (STATED + ", profiles: [nightly]}\n", "profiles must be pr, nightly, release"),
        (STATED.replace("data.seen", "right") + "}\n", "metric must be 'data.seen'"),
        (STATED.replace("statistic: total", "statistic: mean") + "}\n", "statistic must be 'total'"),
        ("  - {id: x, metric: data.seen, rule: no_worse_than_baseline_by, threshold: 0}\n", "use rule at_least"),
        ("  - {id: x, metric: data.seen, rule: at_most, threshold: 0, statistic: total, quantile: 0.5}\n", "quantile"),
    ],
)
def test_the_gate_cannot_be_loosened(
    project: Project, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    """gates.yaml may state it again, word for word in what counts."""
    project.write({"suites/desk/gates.yaml": GATES + line})
    assert project.run("check") == 64
    assert said in capsys.readouterr().err


def test_the_gate_may_be_stated(project: Project) -> None:
    """Stated with a reason of one's own it is the same gate, once."""
    project.write({"suites/desk/gates.yaml": GATES + STATED + ", why: ours}\n"})
    assert project.run("gate") == 0
    assert project.gate_named("tests-unseen")["why"] == "ours"
    assert [gate["id"] for gate in project.file("verdict.json")["gates"]].count("tests-unseen") == 1


def test_the_last_mart_takes_its_gate_along_only_with_an_approval(project: Project) -> None:
    """A change that deletes the mart loses a required gate, which somebody must agree to."""
    for name in mart_files():
        (project.root / name).unlink()
    assert project.run("gate") == 2
    assert project.file("verdict.json")["needs_approval"] == ["desk: required gate tests-unseen removed"]


def test_a_tree_without_marts_has_no_such_stage(tmp_path: Path) -> None:
    """Nothing changes for those who tune nothing."""
    made = make_project(tmp_path)
    made.branch()
    made.write({DESK: REWORDED})
    assert made.run("gate") == 0
    assert {stage["name"] for stage in made.file("run.json")["stages"]} == {"regression"}
    assert "tests-unseen" not in {gate["id"] for gate in made.file("verdict.json")["gates"]}


def test_a_failing_audit_leaves_the_question_open(project: Project) -> None:
    """Without the mart nobody knows what it holds: every case is an error, the gate undecided, never green."""
    project.write({"data/tickets/sql/audits/short.sql": "SELECT id FROM final WHERE length(text) > 10\n"})
    assert project.run("gate") == 2
    gate = project.gate_named("tests-unseen")
    assert (gate["verdict"], gate["errors"]) == ("inconclusive", 60)
    assert "mart tickets is not built: audit data/tickets/sql/audits/short.sql must return no row" in gate["reason"]


def test_wrong_sql_ends_the_run(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in a file is for its author to mend."""
    project.write({"data/tickets/sql/01_tickets.sql": SQL.replace("customer", "costumer")})
    assert project.run("gate") == 64
    assert "data/tickets/sql/01_tickets.sql" in capsys.readouterr().err


def test_a_change_of_a_mart_touches_the_stage_data_and_nothing_else(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Affected names the mart for every app; notes beside it and other folders count for nothing."""

    def found() -> Any:
        capsys.readouterr()
        assert project.run("affected", "--json") == 0
        return json.loads(capsys.readouterr().out)

    project.git("checkout", "--quiet", "--", ".")
    project.write({"data/tickets/README.md": "For people.\n", "data/other/x.csv": "a\n"})
    assert found()["affected"] == []
    project.write(mart_files(LEAKS))
    told = found()
    assert told["jobs"] == [{"stage": "data", "apps": ["desk"]}]
    assert told["apps"]["desk"]["because"] == ["mart tickets changed: raw/tickets.jsonl"]
    project.write({DESK: REWORDED})
    told = found()
    assert [job["stage"] for job in told["jobs"]] == ["data", "regression"]
    assert told["apps"]["desk"]["because"][-1] == "mart tickets changed: raw/tickets.jsonl"


def test_a_part_of_another_mart_is_not_put_together(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured beside other rows says nothing of these."""
    assert project.run("measure", "data", "regression") == 0
    part = project.runs[-1].name
    assert project.run("gate", "--from", part) == 0
    project.write(mart_files(LEAKS))
    assert project.run("gate", "--from", part) == 64
    assert "was measured beside another mart tickets" in capsys.readouterr().err


def test_a_mart_alone_is_judged_by_its_part_alone(project: Project) -> None:
    """Where only a mart changed, the other stages need not be measured: their gates do not apply."""
    project.git("checkout", "--quiet", "--", ".")
    project.write(mart_files(["the blue teapot has a chip at its spout and no lid"]))
    assert project.run("measure", "data") == 0
    assert project.run("gate", "--from", project.runs[-1].name) == 0
    assert project.gate_named("tests-unseen")["verdict"] == "pass"
    level = project.gate_named("level")
    assert (level["verdict"], level["reason"]) == ("not_applicable", "nothing that it measures changed")
    project.write(mart_files(LEAKS))
    assert project.run("measure", "data") == 0
    assert project.run("gate", "--from", project.runs[-1].name) == 1
    # Once the app changes as well, a part without its cases decides nothing.
    project.write(mart_files())
    project.write({DESK: REWORDED})
    assert project.run("measure", "data") == 0
    assert project.run("gate", "--from", project.runs[-1].name) == 2
    assert project.gate_named("level")["verdict"] == "inconclusive"


def test_examples_in_prompts_count(tmp_path: Path) -> None:
    """A case that the prompt shows as an example is as known as one that was trained on."""
    prompt = "---\nname: sort\nmetadata: {version: 1.0.0}\ninputs:\n  message: {kind: string}\n---\nuser:\n"
    prompt += "Example: message 3 about money\n{{ message }}\n"
    app = (
        "name: desk\ninputs:\n  message: {kind: string, from: user_message}\nsteps:\n"
        "  - {id: sort, kind: llm, model: far, prompt: desk/sort/1.0.0, inputs: {message: inputs.message}}\n"
    )
    model = "name: far\nengine: openai\nbase_url: http://127.0.0.1:9/v1\nmodel_id: far\nlicence: none\ncontext: 1000\n"
    files = {
        "suites/desk/app.yaml": app, "prompts/desk/sort/1.0.0.prompty": prompt, "models/far/model.yaml": model,
    }  # fmt: skip
    project = make_project(tmp_path, files=mart_files() | files)
    assert project.run("gate", "--only", "data") == 1
    reason = project.gate_named("tests-unseen")["reason"]
    assert "case case-003 stands in line 8 of prompts/desk/sort/1.0.0" in reason


def test_ages_are_of_the_marts_that_recipes_name(project: Project) -> None:
    """Without an adapter nothing is said of freshness, whatever the mart promises."""
    old = "    freshness: {error_after: {count: 1, period: minute}}\n"
    project.write({"data/tickets/mart.yaml": MART.replace("key: id", old + "key: id")})
    assert project.run("gate") == 0
    assert {row["metric"] for row in project.rows("measurements/data.jsonl")} == {"data.seen"}
