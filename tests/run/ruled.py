"""A repository whose app chooses its prompt version by rules, and the model that answers it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.serve.remote import Contract, Endpoint
from tests.run.project import Project, Reply, Stub, make_project, reply, serving
from tests.serve.contracts import Trusting

RULES = """\
      choose:
      - {name: gold, when: "inputs.tier == 'gold'", use: desk/sort/1.1.0}
      - {name: long, when: context.length > 40, use: desk/sort/1.2.0}
"""
APP = f"""\
name: desk
inputs:
  message: {{kind: string, from: user_message}}
  tier: {{kind: string, required: false, default: standard}}
steps:
  - id: sort
    kind: llm
    model: remote
    inputs: {{message: inputs.message, tier: inputs.tier}}
    prompt:
{RULES}      else: desk/sort/1.0.0
"""
MODEL = """\
name: remote
engine: openai
base_url: {url}/v1
model_id: some-model
licence: MIT
context: 2048
"""


def prompt(version: str, body: str, *inputs: str, changes: str = "") -> str:
    """A version of the prompt ``sort``."""
    declared = "".join(f"  {name}: {{kind: string}}\n" for name in inputs)
    head = f"name: sort\ndescription: What a message is about.\nmetadata:\n  version: {version}\n"
    head += f"  changes: {changes}\n" if changes else ""
    return f"---\n{head}inputs:\n{declared}---\nuser:\n{body}\n"


PROMPTS = {
    "prompts/desk/sort/1.0.0.prompty": prompt("1.0.0", "Sort this: {{ message }}", "message"),
    "prompts/desk/sort/1.1.0.prompty": prompt(
        "1.1.0", "Sort carefully: {{ message }}", "message", changes="more careful"
    ),
    "prompts/desk/sort/1.2.0.prompty": prompt("1.2.0", "Sort for {{ tier }}: {{ message }}", "message", "tier"),
}


def model(body: Any) -> Reply:
    """A model that is right but for every fifth message about money, which only the careful prompt gets right."""
    asked = body["messages"][-1]["content"]
    (number,) = re.findall(r"message (\d+)", asked) or ["0"]
    right = "refund" if "money" in asked else "other"
    said = "other" if "carefully" not in asked and int(number) % 5 == 1 else right
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    return reply({"choices": [{"message": {"content": said}, "finish_reason": "stop"}], "usage": usage})


@contextmanager
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The model as a service that is believed to honour whatever it is asked."""

    async def believed(client: object, endpoint: Endpoint, home: object = None, **more: object) -> Contract:
        return await Trusting().of(endpoint)

    monkeypatch.setattr("harness.serve.remote.contract.contract_of", believed)
    with serving(model) as stub:
        yield stub


def cases(count: int, **tiers: int) -> str:
    """``count`` cases of which the first ``tiers[name]`` have each tier, the rest none."""
    named = [name for name, times in tiers.items() for _ in range(times)]
    rows = []
    for number in range(count):
        text = f"message {number} " + ("about money" if number % 2 else "about socks")
        tier = {"tier": named[number]} if number < len(named) else {}
        label = "refund" if number % 2 else "other"
        rows.append({"id": f"case-{number:03}", "inputs": {"message": text, **tier}, "expect": {"label": label}})
    return b"".join(orjson.dumps(row) + b"\n" for row in rows).decode()


def ruled_project(folder: Path, url: str, rows: str = "", **files: str) -> Project:
    """The repository; ``url`` is where the model answers."""
    content = {
        "suites/desk/app.yaml": APP,
        "suites/desk/suite.yaml": "checks:\n  - {id: right, check: label_match, expect: label}\n",
        "suites/desk/cases/all.jsonl": rows or cases(60, gold=20),
        "models/remote/model.yaml": MODEL.format(url=url),
        **PROMPTS,
    }
    return make_project(folder, files={**content, **files})
