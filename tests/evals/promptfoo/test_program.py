"""promptfoo as a program: what is missing is named, what is asked is literal, what it says is joined by the case."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.errors import SignoffError, UsageError
from harness.evals.promptfoo import program
from harness.evals.promptfoo.config import assertions_of, chosen_cases, misread, question
from harness.evals.promptfoo.results import read_outcomes
from harness.spec.apps import App
from harness.spec.promptfoo import PASSED, PromptfooProfile
from harness.spec.suites import Case, CheckSpec, Suite


def fake_node(folder: Path, version: str) -> Path:
    """A folder with a program called node that says a version."""
    folder.mkdir()
    (folder / "node").write_text(f"#!/bin/sh\necho v{version}\n", encoding="utf-8")
    (folder / "node").chmod(0o755)
    return folder


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package brings a Node; promptfoo's own package is there."""
    found = importlib.util.find_spec("json")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found if name == "promptfoo" else None)


@pytest.mark.usefixtures("without_wheels")
@pytest.mark.parametrize(("version", "said"), [("20.20.2", "is 20.20.2"), ("", "is one that does not run")])
def test_an_old_node_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, said: str) -> None:
    """The message names the Node that is there, the one that is needed, and what to install."""
    monkeypatch.setenv("PATH", str(fake_node(tmp_path / "bin", version)))
    with pytest.raises(SignoffError) as caught:
        program.find_program(tmp_path / "cache")
    assert not isinstance(caught.value, UsageError)
    for words in (said, "22.22.0 or newer", "pip install"):
        assert words in str(caught.value)


@pytest.mark.usefixtures("without_wheels")
def test_no_node_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without any."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SignoffError, match="there is none"):
        program.find_node()


def test_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without promptfoo's Python package the message names the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SignoffError, match=r"signoff\[judges\]"):
        program.find_program(tmp_path)


@pytest.mark.usefixtures("without_wheels")
def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed promptfoo of another version would make other figures."""
    monkeypatch.setenv("PATH", f"{fake_node(tmp_path / 'bin', '24.1.0')}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SIGNOFF_PROMPTFOO", str(tmp_path))
    with pytest.raises(SignoffError, match="holds no promptfoo; install it with: npm install"):
        program.find_program(tmp_path)
    package = tmp_path / "node_modules/promptfoo/package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "0.1.0"}', encoding="utf-8")
    with pytest.raises(SignoffError, match=f"holds promptfoo 0.1.0, not {program.PROMPTFOO}"):
        program.find_program(tmp_path)


@pytest.mark.usefixtures("without_wheels")
def test_an_npm_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What npm said comes back, and the next run tries again."""
    folder = fake_node(tmp_path / "bin", "24.1.0")
    (folder / "npm").write_text("#!/bin/sh\necho no registry here\nexit 7\n", encoding="utf-8")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for _ in range(2):
        with pytest.raises(SignoffError, match=r"npm ended with 7: no registry here"):
            program.find_program(tmp_path / "cache")


def test_a_group_ends_with_its_time(tmp_path: Path) -> None:
    """A child that ignores the request to end, and its own child, are gone when the time is up."""
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    ended, said = program.run_group([sys.executable, "-c", code], tmp_path, os.environ, tmp_path / "log", 1.5)
    assert ended is None
    deadline = time.monotonic() + 10
    while Path(f"/proc/{said}").exists() and _state(said) != "Z":
        assert time.monotonic() < deadline, "the grandchild is alive"
        time.sleep(0.05)


def _state(pid: str) -> str:
    done = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] or "Z"


def test_a_program_that_writes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without results there is no verdict, whatever the exit code."""
    done = program.Program(tmp_path, tmp_path)
    order = program.Order({}, 1, 20.0)
    for written, said in ((b"", "without results"), (b"{}", "results of another shape")):
        run = tmp_path / f"run{len(written)}"

        def leave(*_: Any, content: bytes = written, folder: Path = run) -> tuple[int, str]:
            if content:
                (folder / "results.json").write_bytes(content)
            return 0, "last words"

        monkeypatch.setattr(program, "run_group", leave)
        with pytest.raises(SignoffError, match=said):
            program.evaluate(done, order, run)


APP = App.model_validate(
    {
        "name": "a",
        "inputs": {"q": {"kind": "string", "from": "user_message"}, "tier": {"kind": "string"}},
        "steps": [{"id": "s", "kind": "function", "function": "a.py:f"}],
    }
)


def test_texts_stay_literal() -> None:
    """What reads like a template or a file's name is kept from being one; inputs that cannot be are left out."""
    case = Case(id="c", inputs={"q": "{{env.HOME}} {% x %}", "tier": "gold"}, expect={"t": "{{ 1 }}", "f": "file://x"})
    messages, inputs = question(case, APP)
    assert "{{" not in messages and "{%" not in messages
    assert orjson.loads(messages) == [{"role": "user", "content": "{{env.HOME}} {% x %}"}]
    assert inputs == {"tier": "gold"} and not misread(inputs)
    assert misread({"tier": "{{ x }}"}) and misread({"a": ["file://x"]}) and not misread({"a": {"b": {}}})
    checks = (CheckSpec(id="t", check="contains", expect="t"), CheckSpec(id="f", check="starts_with", expect="f"))
    made = assertions_of(case, Suite(checks=checks), PromptfooProfile())
    assert made == {
        "t": {"type": "contains", "value": "{% raw %}{{ 1 }}{% endraw %}"},
        "f": {"type": "starts-with", "value": "{% raw %}file://x{% endraw %}"},
    }


def test_only_equivalents_are_asked() -> None:
    """A check whose settings have no counterpart is not asked; one that does not apply to the case neither."""
    checks = (
        CheckSpec.model_validate({"id": "a", "check": "contains", "with": {"text": "x", "ignore_case": True}}),
        CheckSpec.model_validate({"id": "b", "check": "exact_match", "expect": "t", "with": {"strip": True}}),
        CheckSpec.model_validate(
            {"id": "c", "check": "json_schema", "with": {"schema": {"$schema": "x", "type": "object"}}}
        ),
        CheckSpec.model_validate({"id": "d", "check": "contains", "expect": "absent"}),
        CheckSpec.model_validate({"id": "e", "check": "json_valid", "step": "s"}),
        CheckSpec.model_validate({"id": "g", "check": "length", "with": {"unit": "words", "maximum": 5}}),
    )
    profile = PromptfooProfile(assertions={"own": {"type": "javascript", "value": "true"}})
    made = assertions_of(Case(id="c", expect={"t": "x"}), Suite(checks=checks), profile)
    assert made == {
        "a": {"type": "icontains", "value": "x"},
        "c": {"type": "is-json", "value": {"type": "object"}},
        "g": {"type": "word-count", "value": {"min": 1, "max": 5}},
        "own": {"type": "javascript", "value": "true"},
    }
    assert PASSED in profile.sizes(checks) and "promptfoo.own" in profile.sizes(checks)


def test_the_choice_of_cases_is_stable() -> None:
    """A case that is added moves at most one other out of the choice."""
    cases = [Case(id=f"c{number}", slices=("s",) if number % 2 else ()) for number in range(40)]
    profile = PromptfooProfile(cases=10, slices=("s",))
    first = {case.id for case in chosen_cases(cases[:-2], profile, 0)}
    second = {case.id for case in chosen_cases(cases, profile, 0)}
    assert len(first) == len(second) == 10 and len(first - second) <= 1
    assert all(int(name[1:]) % 2 for name in second)


def result(case: str, arm: str = "candidate", **more: Any) -> dict[str, Any]:
    """One entry of promptfoo's results."""
    components = [
        {"pass": True, "score": 1, "reason": "ok", "assertion": {"type": "contains", "metric": "right"}},
        {"pass": False, "score": 0, "reason": "no", "metadata": {"assertionSet": {"metric": "set"}}},
        {"pass": True, "score": 1, "reason": "a member", "assertion": {"type": "contains"}},
    ]
    return {
        "vars": {"case": case}, "provider": {"label": arm}, "success": False, "failureReason": 1,
        "response": {"output": "hi", "metadata": {"http": {"headers": {"X-Signoff-Digest": "d"}}}},
        "gradingResult": {"reason": "no", "componentResults": components}, **more,
    }  # fmt: skip


def test_results_are_joined_by_the_case() -> None:
    """Whatever their order, results belong to the case and arm that they name; members of a set are not counted."""
    found = read_outcomes([result("b"), result("a", "baseline"), result("a")])
    assert set(found) == {("b", "candidate"), ("a", "baseline"), ("a", "candidate")}
    outcome = found["b", "candidate"]
    assert {name: said.value for name, said in outcome.said.items()} == {"right": 1, "set": 0}
    assert (outcome.output, outcome.digest, outcome.passed.value) == ("hi", "d", 0)


def test_a_grader_that_failed_is_unscored() -> None:
    """promptfoo counts it as a failed assertion; here neither the assertion nor the case has a value."""
    broken = {"pass": False, "score": 0, "reason": "timeout", "metadata": {"graderError": True},
              "assertion": {"type": "llm-rubric", "metric": "polite"}}  # fmt: skip
    outcome = read_outcomes([result("a", gradingResult={"componentResults": [broken]})])["a", "candidate"]
    assert outcome.said["polite"].value is None and outcome.passed.value is None
    assert "timeout" in outcome.passed.reason


def test_results_that_cannot_be_joined_are_refused() -> None:
    """A case that stands there twice, and a result without a case, are a failure of the harness."""
    with pytest.raises(SignoffError, match="'a' of arm 'candidate' twice"):
        read_outcomes([result("a"), result("a")])
    with pytest.raises(SignoffError, match="another shape"):
        read_outcomes([{**result("a"), "vars": {}}])


def test_an_answer_that_failed_is_an_error() -> None:
    """A call that failed is no answer: its reason is kept."""
    outcome = read_outcomes([result("a", failureReason=2, error="503 busy")])["a", "candidate"]
    assert (outcome.status, outcome.reason, outcome.passed.value) == ("error", "503 busy", None)
