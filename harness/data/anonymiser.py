"""Replace what tells who somebody is by numbered placeholders, before a text is kept or shown to a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.fields import field_entity, fields_in, strings_of
from harness.data.folding import Folded, fold
from harness.data.placeholders import LITERAL, PLACEHOLDER, Vault
from harness.data.presidio import Presidio
from harness.data.recognisers import ENTITIES, own_findings, strong_enough
from harness.data.recurring import again
from harness.data.spans import Span, settle
from harness.errors import UsageError
from harness.spec.serving import Privacy

# A pattern's worst case grows with the square of the text: longer texts are read in overlapping windows.
_WINDOW, _OVERLAP = 12_000, 1_000
# Stands for a placeholder that is there already while recognisers look: no pattern takes it for a part of anything.
_MASK = "\ue000"
_UNMASKED = re.compile(rf"[^{_MASK}]*\w[^{_MASK}]*")
# Longer runs of digits are no numbering: "<ORDER_48213>" must not carry an order number past the recognisers.
_NUMBERED = re.compile(PLACEHOLDER.pattern.replace(r"\d{0,5}", r"\d{0,3}"))
# Kinds whose values are looked for again where nothing announces them.
_RECURRING = frozenset(ENTITIES) - {"URL"}
# Looking for what a conversation gave away before must not grow with a file of a million lines.
_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """``original[start:end]`` was of the kind ``entity`` and is now ``placeholder``. ``score``: 0 to 1."""

    entity: str
    start: int
    end: int
    score: float
    placeholder: str


@dataclass(frozen=True, slots=True)
class Anonymised:
    """A text that may be kept, and what was taken out of it."""

    text: str
    found: tuple[Finding, ...] = ()


class Anonymiser:
    """Finds and replaces identifiers. What it cannot find is listed in ``harness.data.recognisers``.

    Construction takes seconds (presidio); calls take about a millisecond for a message and may come from any thread.
    Raises UsageError for an unknown kind in ``privacy.entities`` and ImportError without presidio: see
    ``harness.data.load_anonymiser``.
    """

    def __init__(self, privacy: Privacy | None = None) -> None:
        privacy = privacy or Privacy()
        self._entities = wanted(privacy.entities)
        self._threshold = privacy.threshold
        self._presidio = Presidio()

    def anonymise(self, text: str, vault: Vault | None = None, *, own: bool = False) -> Anonymised:
        """``text`` with placeholders, numbered by ``vault`` (a new one if there is none).

        A placeholder that ``text`` already has stays, and its number is given to nobody else. If the vault gave out
        that very placeholder before, what the user wrote is replaced in its turn, so that ``Vault.restore`` cannot put
        somebody's data there; ``own`` says that the text is an answer to anonymised messages, whose placeholders are
        meant.
        """
        vault = Vault() if vault is None else vault
        written = [_literal(found) for found in _NUMBERED.finditer(text)]
        spans = [] if own else [span for span in written if vault.issued(text[span.start : span.end])]
        vault.reserve(text)
        masked = _mask(text, written)
        folded = fold(masked)
        spans += [_in_original(folded, span) for span in self._find(folded.text, vault)]
        spans += strong_enough(_unmasked(masked, fields_in(masked)), self._threshold, self._entities)
        return _replace(text, settle(spans), vault)

    def anonymise_json(self, value: Any, vault: Vault | None = None) -> Any:
        """Plain JSON data with every string, name of a field and telling number anonymised, by one vault.

        A number is replaced only if its field's name says that it is an identifier: a time stamp is as long as a
        telephone number.
        """
        vault = Vault() if vault is None else vault
        for text in strings_of(value):
            vault.reserve(text)
        return self._json(value, vault, "")

    def _json(self, value: Any, vault: Vault, key: str) -> Any:
        if isinstance(value, str):
            return self._field(value, vault, key)
        if isinstance(value, dict):
            return self._object(value, vault)
        if isinstance(value, list | tuple):
            return [self._json(item, vault, key) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and field_entity(key):
            return self._field(str(value), vault, key)
        return value

    def _object(self, value: dict[Any, Any], vault: Vault) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for name, inner in value.items():
            key = self.anonymise(str(name), vault).text
            # Two spellings of one address are two fields and one placeholder.
            while key in done:
                key += "'"
            done[key] = self._json(inner, vault, str(name))
        return done

    def _field(self, value: str, vault: Vault, key: str) -> str:
        entity = field_entity(key)
        if entity is None or entity not in self._entities or not value.strip() or PLACEHOLDER.fullmatch(value):
            return self.anonymise(value, vault).text
        return vault.placeholder(entity, value, fold(value).text)

    def _find(self, text: str, vault: Vault) -> list[Span]:
        spans = [span for window in _windows(text) for span in self._find_in(text, *window)]
        recurring = [(s.entity, text[s.start : s.end]) for s in spans if s.entity in _RECURRING]
        recurring += [
            (entity, fold(original).text) for entity, original in vault.known(self._entities & _RECURRING, _REMEMBERED)
        ]
        return [*spans, *again(text, recurring)]

    def _find_in(self, text: str, start: int, end: int) -> Iterator[Span]:
        window = text if (start, end) == (0, len(text)) else text[start:end]
        found = [*own_findings(window), *self._presidio.find(window)]
        for span in strong_enough(found, self._threshold, self._entities):
            for piece in _unmasked(window, (span,)):
                yield Span(piece.start + start, piece.end + start, piece.entity, piece.score)


def wanted(entities: Iterable[str] | None) -> frozenset[str]:
    """The kinds to look for; all if None. Raises UsageError for one that does not exist."""
    if entities is None:
        return frozenset(ENTITIES)
    unknown = sorted(set(entities) - ENTITIES.keys())
    if unknown:
        raise UsageError(f"unknown kinds of identifier: {', '.join(unknown)}; there are {', '.join(ENTITIES)}")
    return frozenset(entities)


def _literal(found: re.Match[str]) -> Span:
    return Span(*found.span(), LITERAL, 1.0)


def _mask(text: str, spans: Sequence[Span]) -> str:
    for span in spans:
        text = text[: span.start] + _MASK * (span.end - span.start) + text[span.end :]
    return text


def _unmasked(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """What is left of spans without the placeholders in them."""
    for span in spans:
        for piece in _UNMASKED.finditer(text, span.start, span.end):
            yield Span(*piece.span(), span.entity, span.score)


def _in_original(folded: Folded, span: Span) -> Span:
    return Span(*folded.original(span.start, span.end), span.entity, span.score)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while True:
        end = min(len(text), start + _WINDOW)
        yield start, end
        if end == len(text):
            return
        start = end - _OVERLAP


def _replace(text: str, spans: Sequence[Span], vault: Vault) -> Anonymised:
    pieces, found, done = [], [], 0
    for span in spans:
        original = text[span.start : span.end]
        placeholder = vault.placeholder(span.entity, original, fold(original).text)
        pieces += [text[done : span.start], placeholder]
        found.append(Finding(span.entity, span.start, span.end, span.score, placeholder))
        done = span.end
    return Anonymised("".join([*pieces, text[done:]]), tuple(found))
