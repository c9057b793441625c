"""Apps of the test's own as chains, and callers that answer as the test says."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.serve.protocol import Generation, GenerationRequest
from harness.serve.steps.callers import Answer, StepError
from harness.serve.steps.chain import Call, Chain, ChainResult
from harness.serve.steps.http_step import HttpRunner
from harness.spec.models import Model
from harness.spec.repository import AppFiles, load_repository
from harness.store import GenerationCache

MODEL = """\
name: remote
engine: openai
base_url: http://127.0.0.1:9/v1
model_id: some-model
licence: MIT
context: 2048
"""
PROMPT = """\
---
name: say
metadata:
  version: 1.0.0
inputs:
  text: {kind: string}
---
user:
{{ text }}
"""


@dataclass
class Scripted:
    """A caller that answers with ``say(last message)``; an exception given back is raised."""

    say: Callable[[str], Any]
    asked: list[GenerationRequest] = field(default_factory=list)

    async def ask(self, model: Model, request: GenerationRequest, repeat: int) -> Answer:
        """The scripted generation."""
        self.asked.append(request)
        said = self.say(request.messages[-1].content)
        if isinstance(said, BaseException):
            raise said
        return Answer(said if isinstance(said, Generation) else text(said))


def text(said: str, finish_reason: Any = "stop", scores: Any = None) -> Generation:
    """A generation."""
    return Generation(
        text=said, finish_reason=finish_reason, prompt_tokens=3, completion_tokens=2, latency_ms=5.0, scores=scores
    )


def app_files(root: Path, app: str, functions: str = "", name: str = "desk") -> AppFiles:
    """The app of ``app.yaml`` without its name, its functions in ``f.py``, the prompt ``desk/say/1.0.0``."""
    for path, content in {
        f"suites/{name}/app.yaml": f"name: {name}\n" + textwrap.dedent(app),
        f"suites/{name}/f.py": textwrap.dedent(functions),
        "prompts/desk/say/1.0.0.prompty": PROMPT,
        "models/remote/model.yaml": MODEL,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return load_repository(root, with_suites=False).apps[name]


def ask(
    files: AppFiles, call: Call | None = None, caller: Any = None, cache: GenerationCache | None = None
) -> ChainResult:
    """One answer of the app."""
    return ask_all(files, [call or Call()], caller, cache)[0]


def ask_all(
    files: AppFiles, calls: list[Call], caller: Any = None, cache: GenerationCache | None = None
) -> list[ChainResult]:
    """The answers of the app, one after the other."""

    async def run() -> list[ChainResult]:
        async with chain_of(files, caller, cache) as chain:
            return [await chain.run(call) for call in calls]

    return asyncio.run(run())


@asynccontextmanager
async def _chain(files: AppFiles, caller: Any, cache: GenerationCache | None) -> Any:
    async with aiohttp.ClientSession() as session:
        yield Chain(files, caller or Scripted(str), HttpRunner(session, cache))


def chain_of(
    files: AppFiles, caller: Any = None, cache: GenerationCache | None = None
) -> AbstractAsyncContextManager[Chain]:
    """A chain with a session of its own."""
    made: AbstractAsyncContextManager[Chain] = _chain(files, caller, cache)
    return made


def transient(message: str = "busy") -> StepError:
    """What a caller raises when trying again may help."""
    return StepError(message, transient=True)


def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr("harness.serve.steps.chain._TRANSIENT_PAUSE_S", 0.0)
