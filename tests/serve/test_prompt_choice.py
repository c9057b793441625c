"""The prompt version that answers, chosen by rules over the request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.serve.protocol import Generation
from harness.serve.steps.chain import Call
from harness.spec.repository import AppFiles, load_repository
from tests.serve.apps import PROMPT, Scripted, app_files, ask, ask_all, text

OTHER = PROMPT.replace("1.0.0", "1.1.0").replace("{{ text }}", "Dear {{ name }}: {{ text }}")
OTHER = OTHER.replace("inputs:\n", "inputs:\n  name: {kind: string}\n")
APP = """
inputs:
  message: {from: user_message}
  past: {kind: array, from: history, required: false}
  tier: {required: false, default: standard}
steps:
  - {id: kind, kind: function, function: "f.py:kind", inputs: {message: inputs.message}}
  - id: say
    kind: llm
    model: remote
    inputs: {text: inputs.message, name: inputs.tier}
    prompt:
      choose:
        - {name: gold, when: inputs.tier == 'gold', use: desk/say/1.1.0}
        - {name: refund, when: steps.kind.output == 'refund', use: desk/say/1.1.0}
        - {name: late, when: context.turns > 2 or context.length > 30, use: desk/say/1.1.0}
      else: desk/say/1.0.0
"""
CODE = """
def kind(message):
    return "refund" if "money" in message else "other"
"""


def chooser(root: Path, app: str = APP) -> AppFiles:
    """The app above."""
    app_files(root, "inputs: {}\nsteps: [{id: a, kind: function, function: 'f.py:kind'}]\n", CODE)
    (root / "prompts/desk/say/1.1.0.prompty").write_text(OTHER, encoding="utf-8")
    return app_files(root, app, CODE)


def call(message: str, *past: str, **inputs: Any) -> Call:
    """A dialogue whose user says ``past`` and then ``message``."""
    said = [{"role": role, "content": one} for one in past for role in ("user", "assistant")]
    return Call(inputs, [*said, {"role": "user", "content": message}])


@pytest.mark.parametrize(
    ("asked", "branch", "seen"),
    [
        (call("hello", tier="gold"), "gold", "Dear gold: hello"),
        (call("my money", tier="gold"), "gold", "Dear gold: my money"),
        (call("my money"), "refund", "Dear standard: my money"),
        (call("x" * 31), "late", "Dear standard: " + "x" * 31),
        (call("now?", "one", "two"), "late", "Dear standard: now?"),
        (call("now?", "one"), "else", "now?"),
    ],
)
def test_first_rule_that_holds_chooses(tmp_path: Path, asked: Call, branch: str, seen: str) -> None:
    """The version answers whose rule holds first, it gets only what it reads, and the result says which it was."""
    result = ask(chooser(tmp_path), asked, Scripted(lambda said: said))
    assert (result.value, result.steps["say"].branch) == (seen, branch)
    shown = result.steps["say"].as_dict()
    assert shown["prompt"] == ("desk/say/1.0.0" if branch == "else" else "desk/say/1.1.0")
    assert shown["branch"] == branch
    assert "prompt" not in result.steps["kind"].as_dict()


def test_step_with_one_version_says_which(tmp_path: Path) -> None:
    """A step without rules names its prompt and no branch."""
    app = "inputs: {m: {from: user_message}}\nsteps:\n  - {id: say, kind: llm, prompt: desk/say/1.0.0, model: remote, "
    shown = ask(app_files(tmp_path, app + "inputs: {text: inputs.m}}\n"), call("hi")).steps["say"].as_dict()
    assert shown["prompt"] == "desk/say/1.0.0"
    assert "branch" not in shown


def test_rule_that_cannot_be_computed_is_the_step_s_error(tmp_path: Path) -> None:
    """A rule that fails sends nobody to ``else``."""
    files = chooser(tmp_path, APP.replace("inputs.tier == 'gold'", "inputs.tier > 3"))
    result = ask(files, call("hello"))
    assert result.status == "error"
    assert "step 'say': when 'inputs.tier > 3'" in result.reason


def test_failed_answer_says_which_prompt_was_asked(tmp_path: Path) -> None:
    """An error of a step is traced to the version that was sent."""
    files = chooser(tmp_path, APP.replace("    prompt:", "    output: {kind: json}\n    prompt:"))
    step = ask(files, call("hello", tier="gold"), Scripted(lambda said: "no json")).steps["say"]
    assert (step.status, step.prompt, step.branch) == ("error", "desk/say/1.1.0", "gold")


def test_calibration_is_that_of_the_chosen_version(tmp_path: Path) -> None:
    """Two versions of one step each have their own prior: the liking for a label depends on the prompt."""
    output = "    output: {kind: choice, options: [yes, no], calibrate: {text: none}}\n    prompt:"
    files = chooser(tmp_path, APP.replace("    prompt:", output))

    def lean(said: str) -> Generation:
        liking = {"Dear gold: none": -0.1, "none": -3.0}.get(said, -1.0)
        return text("yes", scores={"yes": liking, "no": -1.5})

    first, second = ask_all(files, [call("hello"), call("hello", tier="gold")], Scripted(lean))
    assert (first.value, second.value) == ("yes", "no")


def test_rules_are_part_of_what_is_served(tmp_path: Path) -> None:
    """The app's files hold every version that may answer."""
    files = chooser(tmp_path)
    assert sorted(files.prompts) == ["desk/say/1.0.0", "desk/say/1.1.0"]
    assert load_repository(tmp_path, with_suites=False).apps["desk"].digest == files.digest
