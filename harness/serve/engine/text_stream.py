"""Turning tokens into text piece by piece: unfinished characters and possible stop strings are held back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class TextStream:
    """The text of one request as it grows. The pieces that ``push`` and ``close`` return add up to ``text``."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._tokens: list[int] = []
        self._sent = ""
        self.stopped = False

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        return self._sent

    def push(self, token: int) -> str:
        """Take one token; the text that is certain now. Sets ``stopped`` when a stop string is complete."""
        self._tokens.append(token)
        return self._advance(final=False)

    def close(self) -> str:
        """The text that was held back and is final now; nothing when a stop string ended it."""
        return "" if self.stopped else self._advance(final=True)

    def _advance(self, final: bool) -> str:
        whole = self._decode(self._tokens)
        found = [at for at in (whole.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            whole = whole[: min(found)]
        elif not final:
            whole = whole[: len(whole) - self._held(whole)]
        piece = whole[len(self._sent) :]
        self._sent += piece
        return piece

    def _held(self, whole: str) -> int:
        """How many characters at the end may still change: part of a character, or the start of a stop string."""
        solid = whole.rstrip(_UNFINISHED)
        longest = max((len(stop) for stop in self._stop), default=0)
        for size in range(min(longest - 1, len(solid)), 0, -1):
            if any(stop.startswith(solid[-size:]) for stop in self._stop):
                return len(whole) - len(solid) + size
        return len(whole) - len(solid)
