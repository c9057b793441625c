"""Turning tokens into text piece by piece: unfinished characters and possible stop strings are held back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class TextStream:
    """The text of one request as it grows. The pieces that ``push`` and ``close`` return add up to ``text``."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str]) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._longest = max((len(stop) for stop in self._stop), default=0)
        # Only a window of tokens is decoded again: those before _from are text for good, those before _read are
        # known text that the next token may still be glued to (some decoders strip a leading blank).
        self._tokens: list[int] = []
        self._from = self._read = 0
        self._known = ""
        self._pieces: list[str] = []
        self._held = ""
        self.stopped = False

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        return "".join(self._pieces)

    def push(self, token: int) -> str:
        """Take one token; the text that is certain now. Sets ``stopped`` when a stop string is complete."""
        self._tokens.append(token)
        return self._hand_out(self._certain(final=False), final=False)

    def close(self) -> str:
        """The text that was held back and is final now; nothing when a stop string ended it."""
        return "" if self.stopped else self._hand_out(self._certain(final=True), final=True)

    def _certain(self, final: bool) -> str:
        """The text of new tokens, unless they end within a character."""
        window = self._decode(self._tokens[self._from :])
        if window.endswith(_UNFINISHED) and not final:
            return ""
        new = window[len(self._known) :]
        self._from, self._read = self._read, len(self._tokens)
        self._known = self._decode(self._tokens[self._from :]) if self._from < self._read else ""
        return new

    def _hand_out(self, new: str, final: bool) -> str:
        self._held += new
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return self._sent(min(found))
        return self._sent(len(self._held) if final else len(self._held) - self._open())

    def _sent(self, count: int) -> str:
        piece, self._held = self._held[:count], self._held[count:]
        if piece:
            self._pieces.append(piece)
        return piece

    def _open(self) -> int:
        """How many characters at the end may turn out to begin a stop string."""
        for size in range(min(self._longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return size
        return 0
