"""The cache of answers within the pipeline: whether a request is looked up, what was found, what is kept afterwards."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from harness.serve.gateway.answer_codec import decoded, encoded
from harness.serve.gateway.answers import Answered
from harness.serve.gateway.parts import ResponseCache
from harness.serve.gateway.target import Target
from harness.serve.gateway.turn import Turn

_log = logging.getLogger("signoff.gateway")


@dataclass(frozen=True, slots=True)
class Found:
    """Where an answer is kept, and the answer if it was there. Without ``key`` it is not to be kept."""

    key: str = ""
    answer: Answered | None = None


class KeptAnswers:
    """Looks up and keeps answers; ``cache`` None does neither."""

    def __init__(self, cache: ResponseCache | None) -> None:
        self._cache = cache

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

    def keep(self, found: Found, target: Target, answer: Answered) -> None:
        """Keep a new answer that is whole. Never raises."""
        if self._cache is None or not found.key or found.answer is not None:
            return
        try:
            self._cache.put(found.key, encoded(answer), target.canonical())
        except TypeError:
            _log.warning("an answer was not kept: it holds what JSON cannot say")

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
