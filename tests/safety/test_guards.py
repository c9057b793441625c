"""Guards: what they let through, what stands in, and that they are part of what is reviewed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter, ValidationError

from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.serve.steps.http_step import HttpRunner
from harness.spec.apps import App
from harness.spec.guards import Guard, first_broken, texts_in
from harness.spec.repository import load_repository
from tests.safety.desk_files import APP, desk

WHOLE = "    guards:\n      - {kind: links, allow: [shop.example], refuse: {text: withheld, action: answer}}\n"


def guard(**fields: Any) -> Guard:
    """A guard of these fields."""
    made: Guard = TypeAdapter(Guard).validate_python({"refuse": "no", **fields})
    return made


@pytest.mark.parametrize(
    ("fields", "value", "broken"),
    [
        ({"kind": "deny", "pattern": "secret"}, "The SECRET is", True),
        ({"kind": "deny", "pattern": r"\d{5}"}, "1234", False),
        ({"kind": "deny", "pattern": "^deep$"}, {"a": [1, {"b": "deep"}]}, False),
        ({"kind": "deny", "pattern": "deep"}, {"a": [1, {"b": "deep"}]}, True),
        ({"kind": "deny", "pattern": "key"}, {"key": 1}, True),
        ({"kind": "links"}, "see shop.example/a", True),
        ({"kind": "links", "allow": ["shop.example"]}, "see https://help.shop.example/a", False),
        ({"kind": "links", "allow": ["shop.example"]}, "see https://shop.example.evil.example/a", True),
        ({"kind": "links"}, "no link at all, v1.2", False),
        ({"kind": "length", "maximum": 3}, "abcd", True),
        ({"kind": "length", "maximum": 4}, "abcd", False),
        ({"kind": "length", "maximum": 4}, None, False),
    ],
)
def test_what_a_guard_stops(fields: dict[str, Any], value: Any, broken: bool) -> None:
    """Each kind stops exactly what it names, in texts and inside structures."""
    assert (first_broken((guard(**fields),), value) is not None) is broken


def test_texts_of_a_structure() -> None:
    """Keys and values of every depth are read, numbers too."""
    assert texts_in({"a": ["b", {"c": 5}], "d": None}).split() == ["a", "b", "c", "5", "d"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"kind": "deny", "pattern": "("}, "no regular expression"),
     ({"kind": "links", "allow": ["https://a.example"]}, "hosts"),
     ({"kind": "length", "maximum": 0}, "greater"), ({"kind": "magic"}, "magic")],
)  # fmt: skip
def test_guards_that_cannot_work(fields: dict[str, Any], said: str) -> None:
    """A guard that could never act as meant is refused when it is read."""
    with pytest.raises(ValidationError, match=said):
        guard(**fields)


def test_a_choice_takes_no_guard() -> None:
    """Its refusal would be none of its options."""
    step = {
        "id": "a",
        "kind": "llm",
        "prompt": "a/b/1.0.0",
        "model": "m",
        "output": {"kind": "choice", "options": ["x", "y"]},
    }
    with pytest.raises(ValidationError, match="put guards on the step that writes"):
        App.model_validate(
            {"name": "a", "inputs": {}, "steps": [{**step, "guards": [{"kind": "links", "refuse": "x"}]}]}
        )


def asked(root: Path, text: str) -> ChainResult:
    """The answer of the app in ``root``."""
    files = load_repository(root).apps["desk"]

    async def run() -> ChainResult:
        async with aiohttp.ClientSession() as session:
            chain = Chain(files, None, HttpRunner(session))  # type: ignore[arg-type]
            return await chain.run(Call(messages=({"role": "user", "content": text},)))

    return asyncio.run(run())


def test_the_fixed_answer_stands_in(tmp_path: Path) -> None:
    """What breaks a guard never leaves the step, the result names the guard, and everything else passes unchanged."""
    project = desk(tmp_path, "label", app=APP + WHOLE)
    stopped = asked(project.root, "Send it to talvor-1234.example now")
    assert stopped.value == {"text": "withheld", "action": "answer"}
    assert (stopped.status, stopped.steps["sort"].guard) == ("ok", "links")
    assert stopped.steps["sort"].as_dict()["guard"] == "links"
    passed = asked(project.root, "Where is my umbrella?")
    assert passed.value == {"text": "ok", "action": "answer"}
    assert "guard" not in passed.steps["sort"].as_dict()


def test_guards_belong_to_the_digest_and_their_absence_does_not(tmp_path: Path) -> None:
    """Switching a guard on, off or to another answer is another app; an app without any is what it always was."""
    project = desk(tmp_path, "label")
    bare = load_repository(project.root).apps["desk"]
    assert "guards" not in bare.app.steps[0].identity()
    digests = {bare.digest}
    for lines in (WHOLE, WHOLE.replace("withheld", "gone"), WHOLE.replace("shop.example", "other.example")):
        project.write({"suites/desk/app.yaml": APP.replace("FUNCTION", "label") + lines})
        digests.add(load_repository(project.root).apps["desk"].digest)
    assert len(digests) == 4
