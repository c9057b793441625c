"""Texts on their way to where they are kept: anonymised, cut to a length, or left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import orjson

from harness.serve.gateway.telemetry.sparing import SparingLog
from harness.serve.gateway.turn import Turn

if TYPE_CHECKING:
    from harness.data import Texts as Anonymiser

MAX_CHARACTERS = 32_768
# An identifier that was cut in two is not recognised any more; it is shorter than this, and at the end.
_TAIL = 64
# Shorter numbers name nobody; longer ones may be an order, a phone or a card.
_TELLING_NUMBER = 10_000

# A function of one text; or ``harness.data``'s anonymiser, which relates the texts of one row by a vault.
Anonymise: TypeAlias = "Anonymiser | Callable[[str], str]"


class Scrub(Protocol):
    """Anonymises the texts of one row. ``known`` grows with what it has learnt about who is in them."""

    @property
    def known(self) -> int:
        """How many values it looks for everywhere."""
        ...

    def text(self, text: str) -> str:
        """One text."""
        ...

    def json(self, value: Any) -> Any:
        """JSON data."""
        ...


class Texts:
    """Makes a ``RowTexts`` for every row. ``anonymise`` None keeps no text at all.

    A text on which it fails is left out and counted in ``failed``.
    """

    def __init__(self, anonymise: Anonymise | None) -> None:
        self._anonymise = anonymise
        self.failed = 0
        self._log = SparingLog(logging.getLogger("signoff.telemetry"))

    @property
    def none(self) -> bool:
        """Whether no text at all is kept."""
        return self._anonymise is None

    def of(self, turn: Turn) -> RowTexts:
        """The texts of a request: who was named in any of them is known in all of them."""
        outputs = (step.get(name) for step in turn.steps.values() for name in ("output", "reason"))
        return self.row((turn.input, *outputs, turn.output, turn.error))

    def row(self, values: Iterable[Any]) -> RowTexts:
        """The texts in ``values``."""
        if self._anonymise is None:
            return RowTexts(None, self._failed)
        row = RowTexts(_scrub(self._anonymise), self._failed)
        row.learn(values)
        return row

    def _failed(self, problem: Exception) -> None:
        self.failed += 1
        # The message may quote the text, so only its kind is told.
        self._log.warn("a text was left out because it could not be anonymised: %s", type(problem).__name__)


class RowTexts:
    """The texts of one row, anonymised by ``scrub``; with None there are none. ``failed`` is told of what broke it."""

    def __init__(self, scrub: Scrub | None, failed: Callable[[Exception], None]) -> None:
        self._scrub, self._failed = scrub, failed
        self._done: dict[str, tuple[str, int]] = {}

    def learn(self, values: Iterable[Any]) -> None:
        """Look through ``values`` once, so that a name that the last of them gives away is found in the first."""
        for value in values:
            if isinstance(value, str):
                self.text(value, learning=True)
            elif value is not None:
                self.value(value, learning=True)

    def text(self, text: str, *, learning: bool = False) -> str | None:
        """``text`` without what identifies a person."""
        if self._scrub is None:
            return None
        kept, known = self._done.get(text, ("", -1))
        # What was learnt since may be in it as well.
        if known == self._scrub.known:
            return kept
        try:
            kept = _cut(text, self._scrub)
        except Exception as problem:
            if not learning:
                self._failed(problem)
            return None
        self._done[text] = kept, self._scrub.known
        return kept

    def value(self, value: Any, *, learning: bool = False) -> Any:
        """JSON data with all texts anonymised, the names of fields and telling numbers included; None if it fails."""
        if self._scrub is None:
            return None
        try:
            return self._scrub.json(value)
        except Exception as problem:
            if not learning:
                self._failed(problem)
            return None

    def as_text(self, value: Any) -> str | None:
        """``value`` as one anonymised text: itself, or JSON."""
        if value is None or self._scrub is None:
            return None
        if isinstance(value, str):
            return self.text(value)
        kept = self.value(value)
        if kept is None:
            return None
        try:
            return orjson.dumps(kept, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except (RecursionError, TypeError, ValueError) as problem:  # deeper or larger than JSON can be
            self._failed(problem)
            return None


def _cut(text: str, scrub: Scrub) -> str:
    # A lone surrogate can be in a Python text but in no file.
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= MAX_CHARACTERS:
        return scrub.text(text)
    return f"{scrub.text(text[:MAX_CHARACTERS])[:-_TAIL]} [… cut, {len(text)} characters]"


def _scrub(anonymise: Anonymise) -> Scrub:
    return _Plain(anonymise) if callable(anonymise) else _Related(anonymise)


class _Related:
    """By an anonymiser with a vault, which lives as long as the row."""

    def __init__(self, anonymiser: Anonymiser) -> None:
        from harness.data.placeholders import Vault

        self._anonymiser, self._vault = anonymiser, Vault()

    @property
    def known(self) -> int:
        return len(self._vault)

    def text(self, text: str) -> str:
        return self._anonymiser.anonymise(text, self._vault).text

    def json(self, value: Any) -> Any:
        return self._anonymiser.anonymise_json(value, self._vault)


class _Plain:
    """By a function of one text."""

    known = 0

    def __init__(self, anonymise: Callable[[str], str]) -> None:
        self._anonymise = anonymise

    def text(self, text: str) -> str:
        return self._anonymise(text)

    def json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._anonymise(value.encode("utf-8", "replace").decode())
        if isinstance(value, Mapping):
            return {self.json(str(name)): self.json(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.json(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        return self._number(value) if isinstance(value, int | float) else self._anonymise(str(value))

    def _number(self, value: float) -> Any:
        whole = isinstance(value, int) or value.is_integer()
        if not whole or abs(value) < _TELLING_NUMBER:
            return value
        shown = str(int(value))
        return value if (kept := self._anonymise(shown)) == shown else kept
