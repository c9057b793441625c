"""promptfoo, unmodified, against ``signoff serve`` by its OpenAI provider."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.peers import programs
from tests.peers.clients import gateway

pytestmark = pytest.mark.peer
QUESTIONS = ("Where is my parcel?", "I want my money back.", "Do you sell rope?")


def evaluated(folder: Path, url: str, providers: list[dict[str, Any]], tests: list[dict[str, Any]]) -> dict[str, Any]:
    """What promptfoo found, from the file that it writes; cache and telemetry are off."""
    node, promptfoo = programs.promptfoo()
    for provider in providers:
        provider["config"] = {"apiBaseUrl": url, "apiKey": "none-is-asked", "temperature": 0, "max_tokens": 8,
                              **provider.get("config", {})}  # fmt: skip
    config = {"prompts": ["{{question}}"], "providers": providers, "tests": tests}
    (folder / "promptfooconfig.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = subprocess.run(
        [str(node), str(promptfoo), "eval", "-c", "promptfooconfig.yaml", "-o", "results.json", "--no-cache",
         "--no-table", "--no-progress-bar", "--no-share", "-j", "3"],
        cwd=folder, env={**programs.environment(folder / "home"), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (folder / "results.json").is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = orjson.loads((folder / "results.json").read_bytes())
    return found["results"]


def test_promptfoo_compares_an_app_and_a_model(tmp_path: Path) -> None:
    """All of its calls succeed; an assertion that holds passes, one that does not fails, and tokens are counted."""
    tests = [
        {"vars": {"question": text}, "assert": [{"type": "javascript", "value": "output.length > 0"}]}
        for text in QUESTIONS
    ]
    tests.append({"vars": {"question": "Hello?"}, "assert": [{"type": "equals", "value": "never said"}]})
    with gateway(tmp_path) as served:
        providers = [{"id": "openai:chat:desk"}, {"id": "openai:chat:tiny"}]
        found = evaluated(tmp_path, served.url, providers, tests)
    assert {name: found["stats"][name] for name in ("successes", "failures", "errors")} == {
        "successes": 6, "failures": 2, "errors": 0,
    }  # fmt: skip
    for result in found["results"]:
        usage = result["response"]["tokenUsage"]
        assert usage["completion"] == 8 and usage["total"] == usage["prompt"] + 8


def test_promptfoo_sees_our_refusals(tmp_path: Path) -> None:
    """A field that is not supported comes back as an error that names it, not as an answer."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    with gateway(tmp_path) as served:
        providers = [{"id": "openai:chat:tiny", "config": {"tools": tools}}]
        found = evaluated(tmp_path, served.url, providers, [{"vars": {"question": "Hello?"}}])
    (result,) = found["results"]
    assert found["stats"]["errors"] == 1 and "tools" in result["error"] and "400" in result["error"]


def test_promptfoo_takes_json_by_schema(tmp_path: Path) -> None:
    """Its ``response_format`` is obeyed by a model whose every answer is noise."""
    schema = {"type": "object", "properties": {"refund": {"type": "boolean"}}, "required": ["refund"],
              "additionalProperties": False}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "triage", "strict": True, "schema": schema}}
    with gateway(tmp_path) as served:
        providers = [{"id": "openai:chat:tiny", "config": {"response_format": wanted, "max_tokens": 64}}]
        tests = [{"vars": {"question": "Money back?"}, "assert": [{"type": "is-json", "value": schema}]}]
        found = evaluated(tmp_path, served.url, providers, tests)
    assert found["stats"]["successes"] == 1, found["results"][0]
