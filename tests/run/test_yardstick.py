"""The yardstick moved: named with its effect, measured by the old one too, and approved where it became easier."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.project import ALWAYS_OTHER, APP, GATES, REWORDED, SUITE, Project, case_lines, make_project

DESK = "suites/desk/desk.py"
GATES_FILE = "suites/desk/gates.yaml"
CASES = "suites/desk/cases/all.jsonl"
APPROVE = ("approve", "latest", "--as", "Dana Reyes", "--note", "read by hand", "--expires", "2999-01-01")
PROBES = "probes: [{id: rogue, family: canary, attempts: 10}]\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A branch beside a default branch with one app."""
    made = make_project(tmp_path)
    made.branch()
    return made


def moves(project: Project) -> list[tuple[str, str, bool]]:
    """Kind, effect and need of an approval of every move in the newest verdict."""
    return [
        (move["kind"], move["effect"], move["approval"]) for move in project.file("verdict.json")["yardstick_moved"]
    ]


def test_unmoved_yardstick_costs_and_says_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same cases, checks and gates the baseline's suite is not even read."""
    project.write({DESK: REWORDED})

    def never(*args: object, **more: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr("harness.run.yardstick.load_repository", never)
    assert project.run("gate") == 0
    verdict = project.file("verdict.json")
    assert (verdict["yardstick_moved"], verdict["old_yardstick"], verdict["needs_approval"]) == ([], [], [])
    assert not list(project.runs[-1].glob("artifacts/*/old-yardstick"))


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("threshold: 0.8", "threshold: 0.7", "looser"),
        ("threshold: 0.8", "threshold: 0.85", "harder"),
        ("threshold: 0.06", "threshold: 0.1", "looser"),
        ("threshold: 0.06", "threshold: 0.055", "harder"),
        ("threshold: 0.8}", "threshold: 0.8, required: false}", "looser"),
        ("threshold: 0.8}", "threshold: 0.8, confidence: 0.9}", "looser"),
        ("threshold: 0.8}", "threshold: 0.8, max_unscored: 0.5}", "looser"),
        ("threshold: 0.8}", "threshold: 0.8, profiles: [pr]}", "looser"),
        ("rule: at_least, threshold: 0.8", "rule: at_most, threshold: 1", "changed"),
        ("threshold: 0.8}", "threshold: 0.8, slice: money}", "changed"),
        (GATES.splitlines(keepends=True)[1], "", "looser"),
    ],
)
def test_looser_gates_wait_for_an_approval(project: Project, old: str, new: str, effect: str) -> None:
    """Whatever makes a required gate easier, or another one, is undecided until approved; harder ones are only told."""
    project.edit(GATES_FILE, old, new)
    code = project.run("gate")
    assert {(kind, found) for kind, found, _ in moves(project)} == {("gate", effect)}
    assert code == (0 if effect == "harder" else 2)
    if effect != "harder":
        verdict = project.file("verdict.json")
        assert verdict["verdict"] == "inconclusive"
        assert "signoff approve latest" in verdict["next_action"]
        assert project.run(*APPROVE) == 0
        assert project.run("gate") == 0
        assert project.file("verdict.json")["approval"]["name"] == "Dana Reyes"


def test_an_approval_covers_only_what_it_saw(project: Project) -> None:
    """Loosening the gate once more after the approval is undecided again."""
    project.edit(GATES_FILE, "threshold: 0.8", "threshold: 0.7")
    assert project.run("gate") == 2
    assert project.run(*APPROVE) == 0
    project.edit(GATES_FILE, "threshold: 0.7", "threshold: 0.6")
    assert project.run("gate") == 2
    assert any("does not count" in reason for reason in project.file("verdict.json")["reasons"])


@pytest.mark.parametrize(
    ("extra", "old", "new", "move"),
    [
        (
            {},
            GATES,
            GATES + "  - {id: more, metric: right, rule: at_least, threshold: 0.5}\n",
            ("gate", "harder", False),
        ),
        ({}, "id: level", "id: lowest", ("gate", "changed", False)),
        ({}, "threshold: 0.8}", 'threshold: 0.8, why: "because"}', None),
    ],
)
def test_gates_that_are_not_easier(
    project: Project, extra: dict[str, str], old: str, new: str, move: tuple[str, str, bool] | None
) -> None:
    """New gates and new names need no approval, and a reason that a person wrote is no move at all."""
    project.edit(GATES_FILE, old, new)
    assert project.run("gate") == 0
    assert moves(project) == ([move] if move else [])


def test_added_cases_are_told_and_need_nothing(project: Project) -> None:
    """More cases are harder to pass, not easier."""
    project.write({CASES: case_lines(80)})
    assert project.run("gate") == 0
    assert moves(project) == [("case", "harder", False)]
    (move,) = project.file("verdict.json")["yardstick_moved"]
    assert (move["path"], move["line"]) == (CASES, 61)
    assert "20 cases (case-060, case-061, case-062, case-063 and 16 more) added" in move["what"]


def test_deleting_the_cases_that_fail_does_not_help(project: Project) -> None:
    """The old cases are asked from the baseline's tree: the report says that the old yardstick fails, and it waits."""
    project.write({CASES: case_lines(120)})
    project.git("commit", "--all", "--quiet", "--message", "more cases")
    project.git("branch", "--force", "main")
    project.write({DESK: ALWAYS_OTHER})
    kept = "".join(line for line in case_lines(120).splitlines(keepends=True) if '"refund"' not in line)
    project.write({CASES: kept})
    assert project.run("gate") == 2
    verdict = project.file("verdict.json")
    assert {gate["id"]: gate["verdict"] for gate in verdict["gates"]} == {"level": "pass", "no-worse": "pass"}
    assert {gate["id"]: gate["verdict"] for gate in verdict["old_yardstick"]} == {"level": "fail", "no-worse": "fail"}
    assert verdict["needs_approval"][1:] == [
        "desk: gate level fails under the old yardstick",
        "desk: gate no-worse fails under the old yardstick",
    ]
    assert any("60 cases" in name and "deleted" in name for name in verdict["needs_approval"])
    page = (project.runs[-1] / "report.html").read_text(encoding="utf-8")
    assert "by the old yardstick gate level would fail: " in page


def test_rewriting_expectations_does_not_help(project: Project) -> None:
    """A case whose expectation now says what the broken app says is a change that the old yardstick sees through."""
    project.write({DESK: ALWAYS_OTHER})
    project.edit(CASES, '"refund"', '"other"')
    assert project.run("gate") == 2
    assert moves(project) == [("case", "changed", False)]
    assert "desk: gate level fails under the old yardstick" in project.file("verdict.json")["needs_approval"]


def test_a_corrected_label_needs_nobody_where_the_old_one_agrees(project: Project) -> None:
    """A changed case after which old and new yardstick say the same is told, and does not block."""
    project.edit(CASES, "message 2 about socks", "message 2 about shoes")
    assert project.run("gate") == 0
    assert moves(project) == [("case", "changed", False)]
    assert {gate["now"] for gate in project.file("verdict.json")["old_yardstick"]} == {"pass", "not_applicable"}


def test_diluting_with_easy_cases_is_seen(project: Project) -> None:
    """Many easy cases lift a share above its threshold; the old cases alone still fail."""
    project.write({DESK: ALWAYS_OTHER})
    easy = "".join(line.replace('"case-', '"easy-') for line in case_lines(800).splitlines(keepends=True)[::2])
    project.write({"suites/desk/cases/easy.jsonl": easy})
    project.edit(GATES_FILE, GATES.splitlines(keepends=True)[2], "")
    assert project.run("gate") == 2
    names = project.file("verdict.json")["needs_approval"]
    assert "desk: gate level fails under the old yardstick" in names
    assert project.gate_named("level")["verdict"] == "pass"


def test_removed_checks_slices_and_probes_wait(tmp_path: Path) -> None:
    """Everything that was removed is named, and needs an approval."""
    suite = (
        SUITE.replace("slices:\n", "slices:\n  spare: nobody is in it\n")
        + "  - {id: short, check: label_match, expect: label}\n"
    )
    made = make_project(tmp_path, files={"suites/desk/suite.yaml": suite, "suites/desk/probes.yaml": PROBES})
    made.branch()
    made.write({"suites/desk/suite.yaml": SUITE})
    (made.root / "suites/desk/probes.yaml").unlink()
    assert made.run("gate", "--only", "regression") == 2
    assert moves(made) == [("check", "looser", True), ("slice", "looser", True), ("probe", "looser", True)]


def test_fewer_attempts_are_looser_and_more_are_not(tmp_path: Path) -> None:
    """A probe that is sent less often proves less."""
    made = make_project(tmp_path, files={"suites/desk/probes.yaml": PROBES})
    made.branch()
    for attempts, expected in ((5, ("probe", "looser", True)), (20, ("probe", "harder", False))):
        made.write({"suites/desk/probes.yaml": PROBES.replace("10", str(attempts))})
        made.run("gate", "--only", "regression")
        assert moves(made) == [expected]


def test_a_check_in_code_is_part_of_the_yardstick(tmp_path: Path) -> None:
    """Editing the function of a check moves the yardstick: the old code judges beside the new."""
    code = "def fine(subject):\n    return subject.output == 'refund'\n"
    suite = "checks:\n  - {id: right, check: python, with: {function: 'own.py:fine'}}\nslices: {money: about money}\n"
    gates = "gates:\n  - {id: level, metric: right, rule: at_least, threshold: 0.3}\n"
    made = make_project(
        tmp_path,
        files={"suites/desk/own.py": code, "suites/desk/suite.yaml": suite, GATES_FILE: gates},
    )
    made.branch()
    made.write({DESK: ALWAYS_OTHER, "suites/desk/own.py": "def fine(subject):\n    return True\n"})
    assert made.run("gate") == 2
    assert moves(made) == [("check", "changed", False)]
    assert made.gate_named("level")["verdict"] == "pass"
    assert made.file("verdict.json")["needs_approval"] == ["desk: gate level fails under the old yardstick"]


def test_a_deleted_app_is_named(tmp_path: Path) -> None:
    """An app that vanishes with its suite is no silent way around its gates."""
    other = {f"suites/other/{name}": text for name, text in {
        "app.yaml": APP.replace("name: desk", "name: other"), "desk.py": REWORDED, "suite.yaml": SUITE,
        "gates.yaml": GATES, "cases/all.jsonl": case_lines(20)}.items()}  # fmt: skip
    made = make_project(tmp_path, files=other)
    made.branch()
    made.git("rm", "-r", "--quiet", "suites/other")
    assert made.run("gate") == 2
    assert moves(made) == [("app", "looser", True)]
    assert made.run("gate", "--app", "desk") == 0


def test_check_says_it_before_anything_runs(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``signoff check`` names each move with its effect, and stays green: it decides nothing."""
    project.edit(GATES_FILE, "threshold: 0.8", "threshold: 0.7")
    assert project.run("check") == 0
    told = capsys.readouterr().out
    assert "warning: desk: the yardstick moved (looser, needs an approval): gate level: threshold 0.8 -> 0.7" in told


def test_a_failing_run_stays_failed(project: Project) -> None:
    """Moving the yardstick cannot turn a fail into something that an approval lets through."""
    project.write({DESK: ALWAYS_OTHER})
    project.edit(GATES_FILE, "threshold: 0.8", "threshold: 0.75")
    assert project.run("gate") == 1
    assert project.run(*APPROVE) == 64


def test_parts_carry_the_old_yardstick(project: Project) -> None:
    """A job that only measures asks the old cases too; the job that decides needs no more than its folder."""
    project.write({DESK: ALWAYS_OTHER})
    project.edit(CASES, '"refund"', '"other"')
    assert project.run("measure", "regression") == 0
    assert project.run("gate", "--from", str(project.runs[-1])) == 2
    assert {gate["verdict"] for gate in project.file("verdict.json")["old_yardstick"]} == {"fail"}


def test_an_unreadable_old_suite_waits(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the baseline's files do not follow today's rules nobody knows what moved: a person decides."""
    from harness.errors import UsageError

    def broken(*args: object, **more: object) -> None:
        raise UsageError("suites/desk/suite.yaml:1: unknown key 'chekcs'")

    monkeypatch.setattr("harness.run.yardstick.load_repository", broken)
    project.write({CASES: case_lines(80)})
    assert project.run("gate") == 2
    assert moves(project) == [("suite", "changed", True)]


JUDGE = "name: polite\nkind: yes_no\nprompt: 1.0.0\nmodel: far\n"
JUDGE_PROMPT = """\
---
name: polite
metadata: {version: 1.0.0}
inputs:
  output: {kind: string}
---
user:
Is this polite? {{ output }}
"""
MODEL = "name: far\nengine: openai\nbase_url: http://127.0.0.1:9/v1\nmodel_id: far\nlicence: none\ncontext: 1000\n"
LOAD = "rate: 2\nblocks: 6\nslo: {e2e_s: 2}\n"


def told(project: Project) -> list[tuple[str, str, bool, str]]:
    """The moves of the working tree against the default branch, without measuring anything."""
    from harness.run.options import Options
    from harness.run.plan import make_plan
    from harness.run.yardstick import compare_yardsticks

    plan = make_plan(Options(project.root, project.root.parent / "cache"))
    return [(move.kind, move.effect, move.approval, move.what) for move in compare_yardsticks(plan).moves]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rate: 2", "rate: 1", ("looser", True, "load profile: rate 2.0 -> 1.0")),
        ("rate: 2", "rate: 3", ("harder", False, "load profile: rate 2.0 -> 3.0")),
        ("blocks: 6", "blocks: 4", ("looser", True, "load profile: blocks 6 -> 4")),
        ("{e2e_s: 2}", "{e2e_s: 3}", ("looser", True, "load profile: promised e2e_s 2.0 -> 3.0")),
        ("{e2e_s: 2}", "{}", ("looser", True, "load profile: promised e2e_s 2.0 -> none")),
        ("{e2e_s: 2}", "{e2e_s: 2, ttft_s: 1}", ("harder", False, "load profile: promised ttft_s none -> 1.0")),
        ("rate: 2", "rate: 2\nseed: 3", ("changed", False, "load profile: seed 0 -> 3")),
        ("rate: 2", "rate: 2\ndescription: two a second", None),
    ],
)
def test_load_profiles(tmp_path: Path, old: str, new: str, expected: tuple[str, bool, str] | None) -> None:
    """Fewer requests and weaker promises are looser; words for people are no move."""
    project = make_project(tmp_path, 3, {"suites/desk/load.yaml": LOAD})
    project.branch()
    project.edit("suites/desk/load.yaml", old, new)
    assert told(project) == ([("load", *expected)] if expected else [])


def test_judges(tmp_path: Path) -> None:
    """Another question or another model behind a judge is a move; one that is gone needs an approval."""
    suite = SUITE + "  - {id: polite, check: judge/polite}\n"
    folder = "suites/desk/judges/polite"
    files = {
        f"{folder}/judge.yaml": JUDGE,
        f"{folder}/1.0.0.prompty": JUDGE_PROMPT,
        "suites/desk/suite.yaml": suite,
        "models/far/model.yaml": MODEL,
    }
    project = make_project(tmp_path, 3, files)
    project.branch()
    assert told(project) == []
    project.edit("models/far/model.yaml", "model_id: far", "model_id: farther")
    assert told(project) == [("judge", "changed", False, "judge polite changed")]
    project.write({"models/far/model.yaml": MODEL})
    project.write({f"{folder}/1.1.0.prompty": JUDGE_PROMPT.replace("1.0.0", "1.1.0").replace("polite?", "kind?")})
    project.edit(f"{folder}/judge.yaml", "1.0.0", "1.1.0")
    assert told(project) == [("judge", "changed", False, "judge polite changed")]
    project.git("rm", "-rfq", folder)
    project.write({"suites/desk/suite.yaml": SUITE})
    assert told(project) == [
        ("check", "looser", True, "check polite removed"),
        ("judge", "looser", True, "judge polite removed"),
    ]


def test_cases_of_a_package(tmp_path: Path) -> None:
    """Rows that are no longer taken from a package are deleted cases; another source changes all that are left."""
    external = (
        "source: pypi:nothing==1.0\nsha256: " + "a" * 64 + "\nformat: json\nlicence: none\nid: id\nprefix: x-\n"
        "inputs: {message: text}\nrows: [a, b, c]\n"
    )
    project = make_project(tmp_path, 3, {"suites/desk/cases/far.yaml": external})
    project.branch()
    project.edit("suites/desk/cases/far.yaml", "[a, b, c]", "[a, c]")
    assert told(project) == [("case", "looser", True, "case x-b deleted")]
    project.edit("suites/desk/cases/far.yaml", "==1.0", "==2.0")
    assert told(project)[1] == ("case", "changed", False, "2 cases (x-a, x-c) changed")


def test_a_note_or_another_file_is_no_move(tmp_path: Path) -> None:
    """Cases that moved to another file, or got a note for people, are the same cases."""
    project = make_project(tmp_path, 3)
    project.branch()
    lines = case_lines(3).splitlines(keepends=True)
    project.write({CASES: lines[0] + lines[1].replace('"slices"', '"note":"read twice","slices"')})
    project.write({"suites/desk/cases/more.jsonl": lines[2]})
    assert told(project) == []
