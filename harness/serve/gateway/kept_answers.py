"""The cache of answers within the pipeline: whether a request is looked up, what was found, what is kept afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.serve.gateway.answer_codec import decoded, encoded
from harness.serve.gateway.answers import Answered
from harness.serve.gateway.parts import ResponseCache
from harness.serve.gateway.response_cache import may_keep, text_of
from harness.serve.gateway.target import Target
from harness.serve.gateway.turn import Turn

_log = logging.getLogger("signoff.gateway")
# Looking for personal data takes milliseconds an answer: under a load of new questions most are not worth it.
_MOST_WAITING = 32

Clean = Callable[[str, str], bool]
"""Whether request and answer, as texts, may be kept on disk."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where an answer is kept, and the answer if it was there. Without ``key`` it is not to be kept."""

    key: str = ""
    answer: Answered | None = None


class KeptAnswers:
    """Looks up and keeps answers; ``cache`` None does neither. Used within one event loop."""

    def __init__(self, cache: ResponseCache | None, clean: Clean) -> None:
        self._cache, self._clean = cache, clean
        self._tasks: set[asyncio.Task[None]] = set()

    def look_up(self, headers: Mapping[str, str], turn: Turn, target: Target, *, fresh: bool = False) -> Found:
        """What is kept for the request; notes in ``turn`` how it went. ``fresh``: whatever is kept does not do."""
        if _bypasses(headers) or (self._cache is not None and (fresh or not target.repeatable)):
            turn.cache = "bypass"
            return Found()
        if self._cache is None:
            return Found()
        key = self._cache.key(turn.principal.key_id, target.digest, target.canonical())
        answer = self._read(self._cache, key)
        turn.cache = "miss" if answer is None else "hit"
        return Found(key, answer)

    def keep(self, found: Found, turn: Turn, target: Target, answer: Answered) -> None:
        """Keep a new answer, soon: it is looked at in a thread first. Never raises, never delays the answer."""
        if self._cache is None or not found.key or found.answer is not None or not may_keep(turn):
            return
        if len(self._tasks) >= _MOST_WAITING:
            return
        task = asyncio.create_task(self._keep(self._cache, found.key, target, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is still being kept."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, cache: ResponseCache, key: str, target: Target, answer: Answered) -> None:
        texts = "\n".join(choice.text for choice in answer.choices)
        try:
            if await asyncio.to_thread(self._clean, text_of(target.canonical()), texts):
                cache.put(key, encoded(answer))
        except Exception as problem:  # the caller has the answer; that it was not kept is no failure of theirs
            _log.warning("an answer was not kept: %s", type(problem).__name__)

    def _read(self, cache: ResponseCache, key: str) -> Answered | None:
        content = cache.get(key)
        try:
            return None if content is None else decoded(content)
        except (LookupError, TypeError, ValueError):
            _log.warning("a kept answer cannot be read and is computed again")
            return None


def _bypasses(headers: Mapping[str, str]) -> bool:
    """Whether the caller wants a fresh answer."""
    asked = headers.get("cache-control", "").lower()
    return headers.get("x-signoff-cache", "").lower() == "bypass" or "no-store" in asked or "no-cache" in asked
