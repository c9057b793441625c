"""Asking an endpoint as the probes do: any status is an answer, and what was learnt early is used later."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import aiohttp
import orjson

from harness.errors import SignoffError
from harness.serve.remote.address import Endpoint
from harness.serve.remote.events import EventReader
from harness.serve.remote.features import Feature
from harness.serve.remote.record import Observation
from harness.serve.remote.transport import Reply, error_text, exchange, opened, pieces, retry_after_s
from harness.serve.remote.wire import CHAT

Found = dict[Feature, Observation]
"""What one probe observed."""

LENGTH = 24
"""Tokens of the texts that are compared."""
QUESTIONS = (
    "Tell me about the sea, the wind and the harbour, in plain sentences.",
    "Describe a walk through a forest on a rainy day.",
    "Explain how bread is baked, step by step.",
    "List what a traveller should pack, and say why.",
)
_PATIENCE_S = 10.0
_TRIES = 3
_UNUSABLE = "�"


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer of the endpoint, refused or not."""

    status: int
    headers: Mapping[str, str]
    body: Any
    said: str

    @property
    def ok(self) -> bool:
        """Whether the request was served."""
        return self.status == 200

    @property
    def choices(self) -> list[Any]:
        """The choices; empty if there are none."""
        found = self.body.get("choices") if isinstance(self.body, dict) else None
        return found if isinstance(found, list) else []

    @property
    def text(self) -> str | None:
        """The first choice's text, of a chat or a completion; None if there is none."""
        choice = self.choices[0] if self.choices else None
        if not isinstance(choice, dict):
            return None
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else choice.get("text")
        return text if isinstance(text, str) else None

    @property
    def finish(self) -> Any:
        """Why the first choice ended."""
        return self.choices[0].get("finish_reason") if self.text is not None else None

    def count(self, name: str) -> int | None:
        """A figure of ``usage``; None if it is missing or no count."""
        usage = self.body.get("usage") if isinstance(self.body, dict) else None
        value = usage.get(name) if isinstance(usage, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class StreamSeen:
    """One stream: its chunks, whether ``[DONE]`` came, and the error that broke it off."""

    status: int
    chunks: Sequence[Any] = ()
    done: bool = False
    broke: str = ""
    said: str = ""

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choice of every chunk that has one."""
        found = [chunk.get("choices") for chunk in self.chunks if isinstance(chunk, dict)]
        return [choices[0] for choices in found if isinstance(choices, list) and choices]

    @property
    def text(self) -> str:
        """All pieces together."""
        return "".join((choice.get("delta") or {}).get("content") or "" for choice in self.choices)

    @property
    def finish(self) -> Any:
        """The last finish_reason that was sent."""
        return next((choice["finish_reason"] for choice in reversed(self.choices) if choice.get("finish_reason")), None)


@dataclass
class Asker:
    """Sends the probes' requests; ``length_field`` and ``greedy`` are set by the first of them."""

    client: aiohttp.ClientSession
    endpoint: Endpoint
    requests: int = 0
    length_field: str = "max_tokens"
    question: str = QUESTIONS[0]
    greedy: str = ""
    """The greedy answer to ``question`` in ``LENGTH`` tokens; empty if none says enough to be compared with."""
    exact: bool = False
    """Whether greedy answers are the same every time, so that another text is a fault."""
    other: tuple[str, str] = ("", "")
    """Another question and its greedy answer."""
    seeds: bool = False
    """Whether seeds were seen to be honoured."""

    def chat(self, question: str | None = None, length: int = LENGTH, **fields: Any) -> dict[str, Any]:
        """The body of a chat."""
        body: dict[str, Any] = {
            "model": self.endpoint.model_id,
            "messages": [{"role": "user", "content": question or self.question}],
            self.length_field: length,
        }
        return {**body, **fields}

    async def ask(self, body: Mapping[str, Any], path: str = CHAT, headers: Mapping[str, str] | None = None) -> Seen:
        """The answer; a busy server is waited for, a little. EndpointError when there is none."""
        reply = await self._patiently(body, path, headers)
        try:
            parsed = orjson.loads(reply.content)
        except orjson.JSONDecodeError:
            parsed = None
        said = "" if reply.status == 200 else f"HTTP {reply.status}: {error_text(reply.content)[0]}"
        return Seen(reply.status, reply.headers, parsed, self.endpoint.scrub(said))

    async def _patiently(self, body: Mapping[str, Any], path: str, headers: Mapping[str, str] | None) -> Reply:
        for attempt in range(_TRIES):
            self.requests += 1
            reply = await exchange(self.client, self.endpoint, "POST", path, body, headers)
            if reply.status not in (429, 503) or attempt == _TRIES - 1:
                return reply
            await asyncio.sleep(min(retry_after_s(reply.headers), _PATIENCE_S))
        raise AssertionError  # the loop returns

    def what(self, problem: SignoffError) -> str:
        """What went wrong, without where: evidence may be shown to callers, who need not know the address."""
        return str(problem).removeprefix(f"{self.endpoint.where}: ")

    async def stream(self, body: Mapping[str, Any]) -> StreamSeen:
        """The answer to a streamed chat, as far as it came."""
        self.requests += 1
        reader, chunks = EventReader(self.endpoint), list[Any]()
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            async with opened(self.client, self.endpoint, "POST", CHAT, asked) as answer:
                if answer.status != 200:
                    said = error_text(await answer.content.read(10_000))[0]
                    return StreamSeen(answer.status, said=self.endpoint.scrub(f"HTTP {answer.status}: {said}"))
                async for piece in pieces(answer, self.endpoint):
                    chunks.extend(reader.feed(piece))
            chunks.extend(reader.end())
        except SignoffError as problem:
            return StreamSeen(200, chunks, reader.done, broke=self.what(problem))
        return StreamSeen(200, chunks, reader.done)


def honoured(evidence: str) -> Observation:
    """It works."""
    return Observation.of("honoured", evidence)


def ignored(evidence: str) -> Observation:
    """It was accepted and did not do what it says."""
    return Observation.of("ignored", evidence)


def unknown(evidence: str) -> Observation:
    """It could not be told."""
    return Observation.of("unknown", evidence)


def not_served(seen: Seen | StreamSeen) -> Observation:
    """What a status other than 200 says: refused, or nothing if the server itself failed."""
    refused = 400 <= seen.status < 500 and seen.status not in (408, 429)
    return Observation.of("refused" if refused else "unknown", seen.said)


def quoted(text: str | None, most: int = 40) -> str:
    """The beginning of a text, for evidence."""
    if text is None:
        return "no text"
    return repr(text if len(text) <= most else text[:most] + "…")


def difference(text: str | None, other: str) -> str:
    """Where two texts part, for evidence."""
    if text is None:
        return f"no text instead of {quoted(other)}"
    at = next((place for place, signs in enumerate(zip_longest(text, other)) if len(set(signs)) > 1), len(text))
    start = max(0, at - 10)
    return f"{quoted(text[start:], 24)} at sign {at} instead of {quoted(other[start:], 24)}"


def plain(text: str) -> bool:
    """Whether no character of ``text`` is the stand-in for half a character, which every server cuts elsewhere."""
    return _UNUSABLE not in text
