"""Hand-written tests of a suite: the fixtures they are given."""

from __future__ import annotations

import pytest

from tests.conftest import USER_CACHE
from tests.run.project import ROOT, SORT, http_app, serving, sort
from tests.run.test_pytest_plugin import DESK, PLUGIN, Desk, pytest_process

pytest_plugins = ["pytester"]

HAND = "suites/desk/test_hand.py"


@pytest.fixture
def desk(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Four cases, of which the odd ones are about money."""
    return Desk(pytester, monkeypatch)


def test_app_answers_with_its_steps(desk: Desk) -> None:
    """``app`` gives text, steps and status; a step that raises is told and not raised."""
    desk.project.write(
        {
            DESK: SORT.replace("    return", "    assert message != 'broken', 'it broke'\n    return"),
            HAND: """\
def test_right(app):
    answer = app("money")
    assert (answer.text, answer.status, answer.steps["sort"].output) == ("refund", "ok", "refund")
    assert app(message="socks").text == "other"

def test_broken(app):
    answer = app("broken")
    assert answer.status == "error" and "it broke" in answer.reason

def test_function(app):
    assert app.step("sort")(message="money") == "refund"

def test_no_such_step(app):
    app.step("sought")
""",
        }
    )
    told = desk.run(HAND)
    told.assert_outcomes(passed=3, failed=1)
    told.stdout.fnmatch_lines(["*app 'desk' has no function step 'sought'; it has sort*", "*no verdict*"])


def test_outputs_are_those_of_all_cases(desk: Desk) -> None:
    """``outputs`` holds a row for each case of the suite, asked once together with what the checks look at."""
    desk.project.write(
        {
            HAND: "def test_share(outputs):\n"
            "    assert sorted(outputs) == [f'case-{n:03}' for n in range(4)]\n"
            "    assert outputs['case-001']['output'] == outputs['case-001']['steps']['ask']['output'] == 'refund'\n"
        }
    )
    with serving(sort) as service:
        desk.project.write({"suites/desk/app.yaml": http_app(service.url).replace("1000000000", "0")})
        desk.run(HAND).assert_outcomes(passed=1)
        assert len(service.asked) == 4
        desk.run("suites", "-k", "case-001 or share").assert_outcomes(passed=2, deselected=3)
        assert len(service.asked) == 8


def test_client_talks_to_the_gateway(desk: Desk) -> None:
    """``client`` starts the gateway, answers for the app by name and names the status of a refusal."""
    desk.project.write(
        {
            HAND: """\
def test_chat(client):
    assert client.base_url.startswith("http://127.0.0.1:")
    answer = client.chat("desk", [{"role": "user", "content": "money"}])
    assert answer["choices"][0]["message"]["content"] == "refund"

def test_refused(client):
    client.chat("nobody", [{"role": "user", "content": "money"}])
"""
        }
    )
    told = desk.run(HAND)
    told.assert_outcomes(passed=1, failed=1)
    told.stdout.fnmatch_lines(["*answers 'nobody' with HTTP 404*"])


def test_code_that_does_not_load_is_told(desk: Desk) -> None:
    """A function file that does not import is an error that names it, for the cases and for the fixtures."""
    desk.project.write({DESK: "import nothing_of_this_name\n", HAND: "def test_it(app):\n    app('money')\n"})
    told = desk.run("suites", "-q")
    assert told.parseoutcomes().get("passed", 0) == 0
    told.stdout.fnmatch_lines(["*desk.py: does not import*nothing_of_this_name*"])


@pytest.mark.slow
@pytest.mark.network
def test_real_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """This repository's suites run: their hand-written tests pass, and cases of the real model are judged."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("SIGNOFF_CACHE", str(USER_CACHE))
    chosen = ("-o", "addopts=", "-m", "not slow", "-k", "plain-001 or plain-002 or test_desk or test_house")
    told = pytest_process(ROOT, *PLUGIN, *chosen, "-rA", "suites")
    assert "signoff gate --app publishing --app support" in told, told
    for check in ("intent_correct", "reply_approved"):
        assert f"PASSED suites/support/cases/core.jsonl::plain-001[{check}]" in told, told
    assert "FAILED suites/support/test_desk.py" not in told and "ERROR" not in told, told
    assert "FAILED suites/publishing/test_house.py" not in told, told
