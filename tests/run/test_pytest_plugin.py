"""Suites as pytest tests, on a repository of the test's own, without any model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

# pytester drops what an inner run imports; compiled modules cannot be imported a second time.
import harness.run.pytest_bench
import harness.run.pytest_fixtures
import harness.run.pytest_items
import harness.run.pytest_trees  # noqa: F401
from harness.run.collected import heads
from harness.spec.cases import load_case_file
from tests.run.project import (
    ALWAYS_OTHER,
    APP,
    GATES,
    ROOT,
    SORT,
    SUITE,
    http_app,
    make_project,
    serving,
    sort,
)

pytest_plugins = ["pytester"]

CASES = "suites/desk/cases/all.jsonl"
DESK = "suites/desk/desk.py"
PLUGIN = ("-p", "harness.run.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", "-W", "error")


class Desk:
    """The sample project, and pytest run in it."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, count: int = 4) -> None:
        # Plugins that happen to be installed would be loaded into the inner runs, too.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        self.pytester, self.project = pytester, make_project(pytester.path, count)
        monkeypatch.chdir(self.project.root)

    def run(self, *args: str) -> pytest.RunResult:
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess(*PLUGIN, *args)


@pytest.fixture
def desk(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Four cases, of which the odd ones are about money."""
    return Desk(pytester, monkeypatch)


def pytest_process(folder: Path, *args: str) -> str:
    """What pytest prints, run as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False).stdout


def test_each_case_and_check_is_an_item(desk: Desk) -> None:
    """An item's id names file, case and check; checks whose expectation a case lacks give none."""
    desk.project.edit(
        "suites/desk/suite.yaml", "checks:", "checks:\n  - {id: short, check: length, with: {maximum: 9}}"
    )
    rows = (desk.project.root / CASES).read_text().splitlines()
    desk.project.write({CASES: "\n\n".join([*rows[:1], '{"id": "bare", "inputs": {"message": "hi"}}'])})
    told = desk.run("--collect-only", "-q", "suites")
    expected = ["case-000[short]", "case-000[right]", "bare[short]"]
    assert [line for line in told.outlines if "::" in line] == [f"{CASES}::{name}" for name in expected]


def test_good_suite_passes_and_is_no_verdict(desk: Desk) -> None:
    """All checks right is all tests passed, and one line says that this decides nothing and names the gate."""
    told = desk.run("suites")
    told.assert_outcomes(passed=4)
    told.stdout.fnmatch_lines(["*no verdict*signoff gate --app desk"])


def test_failure_shows_the_case_and_no_traceback(desk: Desk) -> None:
    """A wrong answer fails with case, input, expectation, output and reason, and without any Python."""
    desk.project.write({DESK: ALWAYS_OTHER})
    told = desk.run("suites")
    told.assert_outcomes(passed=2, failed=2)
    told.stdout.fnmatch_lines(
        [
            "case case-001: right is 0",
            "*input: message 1 about money",
            "*expected: refund",
            "*output: other",
            "*reason: ?*",
        ]
    )
    told.stdout.no_fnmatch_line("*Traceback*")
    told.stdout.no_fnmatch_line("*def *")


def test_baseline_excuses_what_failed_there(desk: Desk) -> None:
    """Against the baseline a case fails only if it passed there; one that failed there too is skipped, and says so."""
    desk.project.write({DESK: 'def label(message):\n    return "refund" if "message 1" in message else "other"\n'})
    desk.project.commit("case-003 fails")
    desk.project.branch()
    desk.project.write({DESK: ALWAYS_OTHER})
    told = desk.run("suites", "--baseline", "main", "-rs")
    told.assert_outcomes(passed=2, failed=1, skipped=1)
    told.stdout.fnmatch_lines(["case case-001: right is 0", f"SKIPPED*{CASES}:4: was failing at the baseline"])


def test_unchanged_app_is_its_own_baseline(desk: Desk) -> None:
    """With equal digests the baseline is not asked again, and every failure was there before."""
    desk.project.write({DESK: ALWAYS_OTHER})
    desk.project.commit()
    desk.project.branch()
    desk.run("suites", "--baseline", "main").assert_outcomes(passed=2, skipped=2)


def test_new_app_has_nothing_to_excuse_it(desk: Desk) -> None:
    """An app that the baseline lacks fails as it would without one."""
    desk.project.branch()
    names = {"app.yaml": APP.replace("name: desk", "name: newer"), "desk.py": ALWAYS_OTHER, "suite.yaml": SUITE}
    cases = (desk.project.root / CASES).read_text()
    desk.project.write(
        {
            f"suites/newer/{name}": text
            for name, text in {**names, "gates.yaml": GATES, "cases/all.jsonl": cases}.items()
        }
    )
    told = desk.run("suites", "--baseline", "main", "-k", "newer")
    told.assert_outcomes(passed=2, failed=2, deselected=4)
    told.stdout.fnmatch_lines(["*signoff gate --app newer"])


def test_unknown_baseline_is_an_error_of_each_case(desk: Desk) -> None:
    """A reference that git does not know is named; nothing fails or passes."""
    told = desk.run("suites", "--baseline", "nowhere")
    told.assert_outcomes(errors=4)
    told.stdout.fnmatch_lines(["*no commit 'nowhere'*"])
    told.stdout.no_fnmatch_line("*def *")


def test_app_that_gives_nothing_is_an_error(desk: Desk) -> None:
    """A step that raises is an error in setup and no failed check."""
    desk.project.write({DESK: SORT.replace("    return", "    assert 'money' in message, 'no money'\n    return")})
    told = desk.run("suites")
    told.assert_outcomes(passed=2, errors=2)
    told.stdout.fnmatch_lines(["case case-000: no output of the candidate to check: *no money*"])
    told.stdout.no_fnmatch_line("*def setup*")


def test_check_that_cannot_tell_is_skipped(desk: Desk) -> None:
    """An unscored case is skipped with the check's reason."""
    desk.project.edit("suites/desk/suite.yaml", "label_match, expect: label", "python, with: {function: own.py:unsure}")
    desk.project.write({"suites/desk/own.py": "def unsure(subject):\n    raise ValueError('cannot tell')\n"})
    told = desk.run("suites", "-rs")
    told.assert_outcomes(skipped=4)
    told.stdout.fnmatch_lines([f"SKIPPED*{CASES}:1: right gave no score: *cannot tell*"])


def test_units_and_directions(desk: Desk) -> None:
    """A lower-is-better share passes at 0; other units never fail a case and are reported as properties."""
    desk.project.edit(
        "suites/desk/suite.yaml",
        "checks:",
        "checks:\n"
        "  - {id: bad, check: python, with: {function: own.py:none, better: lower}}\n"
        "  - {id: worse, check: python, with: {function: own.py:all, better: lower}}\n"
        "  - {id: size, check: python, with: {function: own.py:size, unit: letters, maximum: null}}",
    )
    own = ("none", "False"), ("all", "True"), ("size", "len(subject.output)")
    desk.project.write(
        {"suites/desk/own.py": "".join(f"def {name}(subject):\n    return {gives}\n" for name, gives in own)}
    )
    told = desk.run("suites", "-k", "case-000", "--junit-xml", "junit.xml")
    told.assert_outcomes(passed=3, failed=1)
    told.stdout.fnmatch_lines(["case case-000: worse is 1"])
    assert '<property name="size" value="5.0"' in Path("junit.xml").read_text()


def test_only_selected_cases_are_asked_and_in_one_go(desk: Desk) -> None:
    """-k and slice markers choose; what they leave out is not asked, and the rest is under way at the same time."""
    with serving(sort) as service:
        desk.project.write({"suites/desk/app.yaml": http_app(service.url)})
        desk.run("suites", "-m", "slice_money", "-k", "not case-003").assert_outcomes(passed=1, deselected=3)
        assert [body["text"] for _, _, body in service.asked] == ["message 1 about money"]
        desk.run("suites").assert_outcomes(passed=4)
        assert len(service.asked) == 4


def test_last_failed_and_node_ids(desk: Desk) -> None:
    """A node id selects one item, a case's id all of its checks, and --lf what failed before."""
    desk.project.write({DESK: ALWAYS_OTHER})
    desk.run(f"{CASES}::case-001[right]").assert_outcomes(failed=1)
    desk.run(f"{CASES}::case-002").assert_outcomes(passed=1)
    for outcome in ({"passed": 2, "failed": 2}, {"failed": 2}):
        told = desk.pytester.runpytest_inprocess("-p", PLUGIN[1], "--lf", "suites")
        assert told.parseoutcomes() == outcome


def test_option_chooses_the_app(desk: Desk) -> None:
    """--signoff-app leaves the other suites out, their broken files included."""
    desk.project.write({"suites/other/app.yaml": "nonsense: [", "suites/other/cases/all.jsonl": "{}\n"})
    assert desk.run("suites").ret == pytest.ExitCode.INTERRUPTED
    desk.run("suites", "--signoff-app", "desk").assert_outcomes(passed=4)


def test_broken_suite_is_a_collection_error(desk: Desk) -> None:
    """An invalid row is named by file and line, without a traceback, and nothing is asked."""
    desk.project.write({CASES: '{"id": "one", "input": {}}\n'})
    told = desk.run("suites")
    told.assert_outcomes(errors=1)
    told.stdout.fnmatch_lines([f"*{CASES}:1: *input*"])
    told.stdout.no_fnmatch_line("*Traceback*")


def test_cases_of_a_package_are_collected_without_it(desk: Desk) -> None:
    """Rows of an external source are listed by id before anything is fetched, and found by it when they are run."""
    source = b"".join(orjson.dumps({"id": f"R {n}", "say": "money"}) + b"\n" for n in range(2))
    listed = (
        f"source: path:rows.jsonl\nsha256: {hashlib.sha256(source).hexdigest()}\nformat: jsonl\nlicence: MIT\nid: id\n"
        "prefix: Ext-\ninputs: {message: say}\nslices: [money]\nrows: ['R 0', {id: 'R 1', expect: {label: refund}}]\n"
    )
    desk.project.write({"suites/desk/cases/more.yaml": listed})
    told = desk.run("suites", "-q", "--collect-only", "-k", "ext")
    told.stdout.fnmatch_lines(["suites/desk/cases/more.yaml::ext-r-1?right?"])
    (desk.project.root / "rows.jsonl").write_bytes(source)
    desk.run("suites", "-k", "ext").assert_outcomes(passed=1, deselected=4)
    file, _ = load_case_file(desk.project.root / "suites/desk/cases/more.yaml", desk.project.root)
    assert file is not None
    cases = file.resolve(lambda *_: desk.project.root / "rows.jsonl")
    assert [(head.id, head.slices, head.expects) for head in heads(file, b"")] == [
        (case.id, case.slices, frozenset(case.expect)) for case in cases
    ]


def test_two_workers_ask_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under pytest-xdist one worker asks for all of them, and nothing of it stays behind."""
    temporary = desk.pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    with serving(sort) as service:
        # Nothing is cached, so that a second asking would be seen.
        desk.project.write({"suites/desk/app.yaml": http_app(service.url).replace("1000000000", "0")})
        told = pytest_process(desk.project.root, *PLUGIN, "-p", "xdist", "-n", "2", "suites")
        assert "4 passed" in told, told
        assert "no verdict" in told
        assert len(service.asked) == 4
    assert not list(temporary.glob("signoff-*"))


def test_plugin_is_inert_elsewhere(desk: Desk) -> None:
    """A run without suites imports nothing heavy, and its own ``app`` and ``client`` fixtures are its own."""
    desk.project.write(
        {
            "conftest.py": "import pytest\npytest_plugins = ['mine']\n",
            "mine.py": "import pytest\n\n@pytest.fixture\ndef app():\n    return 'mine'\n",
            "cases/all.jsonl": "not a case\n",
            "test_own.py": "import sys\n\ndef test_own(app):\n    assert app == 'mine'\n"
            "    heavy = {'pydantic', 'aiohttp', 'numpy', 'orjson', 'torch', 'harness.run.pytest_trees'}\n"
            "    assert not heavy & set(sys.modules)\n",
        }
    )
    told = pytest_process(desk.project.root, *PLUGIN, "--ignore=suites", ".")
    assert "1 passed" in told, told
    assert "signoff" not in told.splitlines()[-2]


def test_own_fixtures_beside_suites(desk: Desk) -> None:
    """Tests outside a suite's folder keep their fixtures when suites are collected in the same run."""
    desk.pytester.syspathinsert(desk.project.root)
    desk.project.write(
        {
            "mine.py": "import pytest\n\n@pytest.fixture\ndef app():\n    return 'mine'\n",
            "tests/test_own.py": "def test_own(app):\n    assert app == 'mine'\n",
            "suites/desk/test_hand.py": "def test_hand(app):\n    assert app('money').text == 'refund'\n",
        }
    )
    told = desk.run("-p", "mine", "suites", "tests")
    told.assert_outcomes(passed=6)
