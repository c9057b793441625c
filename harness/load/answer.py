"""A streamed answer as it arrives: when its first token came, how it ended, what it counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

_PREFIX = b"data:"


@dataclass(slots=True)
class StreamedAnswer:
    """Server-sent events of a chat completion, fed as bytes with the time at which they came.

    ``first`` is when the first non-empty delta of any channel came (text, reasoning, a tool call; the frame that only
    names the role is none), ``last`` the latest. ``pieces`` counts such deltas; tokens come from ``usage`` alone,
    because a piece may hold any number of them.
    """

    first: float | None = None
    last: float | None = None
    ended: float | None = None
    pieces: int = 0
    received: int = 0
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    _rest: bytes = b""

    def feed(self, data: bytes, at: float) -> bool:
        """Take bytes that came ``at``; True once the answer is over (``[DONE]`` or an error event)."""
        self.received += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(_PREFIX) and self._event(line[len(_PREFIX) :].strip(), at):
                self.ended = at
                return True
        return False

    def _event(self, content: bytes, at: float) -> bool:
        if content == b"[DONE]":
            return True
        try:
            event = orjson.loads(content)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.error = f"an event is no JSON object: {content[:80].decode(errors='replace')!r}"
            return True
        if event.get("error"):
            self.error = _message(event["error"])
            return True
        self._note(event, at)
        return False

    def _note(self, event: Mapping[str, Any], at: float) -> None:
        if isinstance(event.get("usage"), dict):
            self.usage = event["usage"]
        if isinstance(event.get("signoff"), dict):
            self.steps = {name: _mapping(step) for name, step in _mapping(event["signoff"].get("steps")).items()}
        choices = event.get("choices")
        for choice in map(_mapping, choices if isinstance(choices, list) else ()):
            self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)
            if _says_something(choice):
                self.first = at if self.first is None else self.first
                self.last = at
                self.pieces += 1

    @property
    def tokens(self) -> int | None:
        """Tokens of the answer, None when the server did not count them."""
        return _count(self.usage.get("completion_tokens"))

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens of the prompt, None when the server did not count them."""
        return _count(self.usage.get("prompt_tokens"))

    @property
    def cached_tokens(self) -> int | None:
        """Tokens of the prompt that the server had computed before, None when it does not say."""
        details = self.usage.get("prompt_tokens_details")
        return _count(details.get("cached_tokens")) if isinstance(details, dict) else None


def _says_something(choice: Mapping[str, Any]) -> bool:
    delta = _mapping(choice.get("delta"))
    channels = [value for name, value in delta.items() if name != "role"]
    return any(isinstance(value, str | list) and bool(value) for value in [*channels, choice.get("text")])


def _mapping(value: Any) -> Mapping[str, Any]:
    """What a server sent where an object belongs; nothing if it is none."""
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _message(error: Any) -> str:
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)
