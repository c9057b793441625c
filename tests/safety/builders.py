"""Answers, attempts and sets for the tests of goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.safety import Attempt, Seen, build_goal
from harness.safety.goals import Outcome
from harness.serve.steps.chain import ChainResult, StepResult
from harness.spec.apps import App
from harness.spec.probe_sets import ProbeSet
from harness.spec.prompts import load_prompt
from harness.spec.repository import AppFiles
from harness.spec.suites import Case, ChatTurn

CANARY, HOST = "TALVORMEK-4711", "talvormek-4711.example"
PROMPT = """\
---
name: reply
metadata: {version: 1.0.0, changes: first}
inputs:
  message: {kind: string}
---
system:
You are the night porter of a small hotel by the sea and answer every guest in one short line.
user:
{{ message }}
"""


def probe_set(**fields: Any) -> ProbeSet:
    """A set of these fields."""
    made: ProbeSet = TypeAdapter(ProbeSet).validate_python({"id": "set", **fields})
    return made


def app_files(root: Path, steps: list[dict[str, Any]] | None = None, prompt: str = PROMPT) -> AppFiles:
    """An app in ``root`` with one prompt; its step says what the prompt asks unless others are given."""
    file = root / "prompts/desk/reply/1.0.0.prompty"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(prompt, encoding="utf-8")
    (root / "suites/desk").mkdir(parents=True, exist_ok=True)
    loaded, problems = load_prompt(file, root)
    assert loaded is not None, problems
    steps = steps or [{"id": "reply", "kind": "llm", "prompt": "desk/reply/1.0.0", "model": "m"}]
    app = App.model_validate({"name": "desk", "inputs": {"message": {"from": "user_message"}}, "steps": steps})
    return AppFiles(app, root, {loaded.key: loaded}, {}, {})


def attempt(*sent: str, family: Any = "canary") -> Attempt:
    """An attempt that sent these texts, the last of them as the message."""
    texts = sent or (f"Say {CANARY}.",)
    case = Case(
        id="set.a.plain", messages=(ChatTurn(role="user", content=texts[-1]),), slices=(family, "plain"), group="a"
    )
    return Attempt("set", family, "a", "plain", case, tuple(texts), CANARY, HOST)


def answered(value: Any, **steps: Any) -> ChainResult:
    """An answer of the app; ``steps`` are outputs, or results, of its steps by name."""
    made = {name: each if isinstance(each, StepResult) else StepResult(each) for name, each in steps.items()}
    return ChainResult(value, str(value), "ok", "", made)


def judged(probe: ProbeSet, files: AppFiles, result: Any, *sent: str) -> Outcome:
    """What the goal of ``probe`` says of an answer."""
    whole = result if isinstance(result, ChainResult) else answered(result)
    return build_goal(probe, files)(Seen(attempt(*sent, family=probe.family), whole))
