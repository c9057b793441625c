"""Gateways for tests: apps and engines that answer as a test says, and ways to ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi.testclient import TestClient

from harness.serve.gateway.served import AppRequest, AppResponse, Forecast, Tokens
from harness.serve.gateway.turn import Turn
from harness.serve.protocol import Delta, EngineIdentity, Generation, GenerationRequest, TokenLogprob

MODEL, APP = "m" * 64, "a" * 64
HELLO = [{"role": "user", "content": "hello"}]
ERROR = {"message", "type", "param", "code"}


@dataclass
class Echo:
    """An app that repeats the last message and remembers how it was called."""

    name: str = "echo"
    digest: str = APP
    calls: list[AppRequest] = field(default_factory=list)
    failure: BaseException | None = None

    async def respond(self, request: AppRequest) -> AppResponse:
        """Repeat the last message."""
        self.calls.append(request)
        if self.failure is not None:
            raise self.failure
        digest = "changed" if request.overrides else self.digest
        return AppResponse(f"echo {request.messages[-1].content}", digest, Tokens(3, 2), {"say": {"output": "x"}})


class StreamingEcho(Echo):
    """An app that can hand out its text while it is written."""

    async def stream(self, request: AppRequest) -> AsyncIterator[Delta | AppResponse]:
        """Three pieces, then the response; fails after the first if told to."""
        yield Delta("one ")
        if self.failure is not None:
            raise self.failure
        yield Delta("two")
        yield AppResponse("one two", self.digest)


class SureEcho(Echo):
    """An app whose answers are certain before they are computed."""

    def forecast(self, request: AppRequest) -> Forecast:
        """The same answer again unless a seed is asked for."""
        return Forecast("changed" if request.overrides else self.digest, request.seed is None, 40)


class Spelling:
    """A ``Generator`` that spells the last message letter by letter and remembers what it was asked.

    With ``logprobs`` each letter has the log-probability -0.5 and ``?`` as its alternative. ``hold`` makes it wait
    after the first letter; ``failure`` is raised there. ``open`` counts the answers that are neither done nor closed.
    """

    identity = EngineIdentity("spelling", "1", "", "", "")

    def __init__(self) -> None:
        self.asked: list[GenerationRequest] = []
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.open = 0

    async def generate(self, request: GenerationRequest) -> Generation:
        """The whole answer."""
        async for piece in self.stream(request):
            if isinstance(piece, Generation):
                return piece
        raise AssertionError

    async def stream(self, request: GenerationRequest) -> AsyncIterator[Delta | Generation]:
        """Letter by letter."""
        self.asked.append(request)
        self.open += 1
        try:
            text = request.prompt if request.prompt is not None else request.messages[-1].content
            text = text[: request.decoding.max_tokens]
            told = [TokenLogprob(letter, letter.encode(), -0.5, (("?", b"?", -1.5),)) for letter in text]
            for index, letter in enumerate(text):
                shown = (told[index],) if request.logprobs is not None else ()
                yield Delta(letter, shown, 7, index + 1)
                await asyncio.sleep(0)
                if self.hold is not None:
                    await self.hold.wait()
                if self.failure is not None:
                    raise self.failure
            logprobs = tuple(told) if request.logprobs is not None else None
            yield Generation(text, "stop", 7, len(text), latency_ms=12.0, queue_ms=2.0, logprobs=logprobs)
        finally:
            self.open -= 1


@dataclass
class Watcher:
    """An observer that remembers every turn."""

    turns: list[Turn] = field(default_factory=list)

    def observe(self, turn: Turn) -> None:
        """Remember it."""
        self.turns.append(turn)


def post(client: TestClient, path: str = "/v1/chat/completions", headers: Any = None, **body: Any) -> Any:
    """One chat completion, unless ``path`` says otherwise."""
    more = {} if "messages" in body or "prompt" in body or "input" in body else {"messages": HELLO}
    return client.post(path, json={**more, **body}, headers=headers)


def events(text: str) -> list[Any]:
    """The data of every server-sent event."""
    parts = text.split("\n\n")
    assert parts[-1] == ""
    assert all(part.startswith("data: ") for part in parts[:-1])
    data = [part.removeprefix("data: ") for part in parts[:-1]]
    return [part if part == "[DONE]" else orjson.loads(part) for part in data]


async def speak(
    app: Any, path: str, body: dict[str, Any], *, leave: Callable[[], bool] | None = None, headers: Any = ()
) -> list[dict[str, Any]]:
    """One POST without a server in between: what the app sent. The client leaves when ``leave()`` is true."""
    asked, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}
        while leave is None or not leave():
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    scope = {
        "type": "http", "method": "POST", "path": path, "headers": list(headers), "query_string": b"",
        "asgi": {"version": "3.0", "spec_version": "2.3"}, "state": {},
    }  # fmt: skip
    async with asyncio.timeout(20):
        await app(scope, receive, send)
    return sent
