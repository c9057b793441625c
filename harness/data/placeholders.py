"""Numbered placeholders for what was taken out of a text, and the way back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import islice

from harness.data.recognisers import ENTITIES

# A placeholder-like text that the user wrote is itself taken out, under this kind, when its number is in use.
LITERAL = "LITERAL"
PLACEHOLDER = re.compile(rf"<(?P<entity>{'|'.join([*ENTITIES, LITERAL])})_(?P<number>[1-9]\d{{0,5}})>")
_LONGEST = max(map(len, [*ENTITIES, LITERAL])) + len("<_999999>")
# What may still become a placeholder when the next piece of an answer comes.
_BEGUN = re.compile(r"<[A-Z_]*\d*\Z")
_SPACED_FREELY = frozenset({"ACCOUNT", "CARD", "CUSTOMER", "IBAN", "NATIONAL_ID", "NUMBER", "ORDER", "PHONE"})


class Vault:
    """What stands behind the placeholders of one request or conversation. Keep it in memory and let it go with that.

    The same value gets the same placeholder, whatever its capitals and, for numbers, its spaces and dashes are;
    ``restore`` gives back the spelling that came first.
    """

    def __init__(self) -> None:
        self._originals: dict[str, str] = {}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        self._taken: set[str] = set()
        self.replaced: Counter[str] = Counter()
        """How often a value of each kind was replaced."""

    def __len__(self) -> int:
        return len(self._originals)

    def __repr__(self) -> str:
        return f"Vault({len(self)} placeholders)"

    def reserve(self, text: str) -> None:
        """Never give out a placeholder that ``text`` already has: it is the user's text and must stay it."""
        self._taken.update(found.group() for found in PLACEHOLDER.finditer(text))

    def placeholder(self, entity: str, original: str, plain: str | None = None) -> str:
        """The placeholder of ``original``. ``plain`` is its folded spelling, by which values are compared."""
        self.replaced[entity] += 1
        key = (entity, _canonical(entity, original if plain is None else plain))
        known = self._placeholders.get(key)
        if known is not None:
            return known
        number = self._last.get(entity, 0) + 1
        while (fresh := f"<{entity}_{number}>") in self._taken:
            number += 1
        self._last[entity] = number
        self._placeholders[key] = fresh
        self._originals[fresh] = original
        return fresh

    def issued(self, placeholder: str) -> bool:
        """Whether this vault gave out ``placeholder``."""
        return placeholder in self._originals

    def known(self, entities: frozenset[str], most: int) -> list[tuple[str, str]]:
        """Entity and original of the newest ``most`` values, those of other kinds left out."""
        newest = islice(reversed(self._placeholders.items()), most)
        return [(key[0], self._originals[placeholder]) for key, placeholder in newest if key[0] in entities]

    def restore(self, text: str, escape: Callable[[str], str] | None = None) -> str:
        """``text`` with the originals back, in one pass. ``escape`` makes an original fit in, say, a JSON string."""
        return PLACEHOLDER.sub(lambda found: self._original(found.group(), escape), text)

    def _original(self, placeholder: str, escape: Callable[[str], str] | None) -> str:
        original = self._originals.get(placeholder)
        if original is None:
            return placeholder
        return original if escape is None else escape(original)


def _canonical(entity: str, plain: str) -> str:
    if entity == LITERAL:
        return plain
    if entity in _SPACED_FREELY:
        return "".join(c for c in plain.casefold() if c.isalnum())
    return " ".join(plain.casefold().split())


class StreamRestorer:
    """Restores an answer that comes in pieces; a placeholder may be cut anywhere."""

    def __init__(self, vault: Vault, escape: Callable[[str], str] | None = None) -> None:
        self._vault, self._escape = vault, escape
        self._held = ""

    def push(self, piece: str) -> str:
        """What can be shown now. The beginning of a placeholder is held back, never more than a placeholder is long."""
        text = self._held + piece
        begun = _BEGUN.search(text, max(0, len(text) - _LONGEST))
        cut = begun.start() if begun else len(text)
        self._held = text[cut:]
        return self._vault.restore(text[:cut], self._escape)

    def close(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return self._vault.restore(held, self._escape)
