"""Taking personal data out of a mart's texts and out of every row that is kept aside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from harness.data import Texts, load_anonymiser
from harness.data.folding import fold
from harness.data.placeholders import Vault
from harness.spec.marts import Anonymise
from harness.store import digest_bytes, digest_of, lf_text

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SHORTEST = 2


@cache
def anonymiser_digest() -> str:
    """sha256 over the anonymiser's own code and word lists: a better one makes another mart."""
    room = Path(__file__).parents[1]
    files = sorted([*room.glob("*.py"), *room.glob("words/*.txt")])
    return digest_of({file.name: digest_bytes(lf_text(file.read_text(encoding="utf-8")).encode()) for file in files})


def finder_version() -> str:
    """The version of presidio that is installed; empty if none is."""
    try:
        return version("presidio-analyzer")
    except PackageNotFoundError:
        return ""


class Cleaner:
    """Anonymises as ``settings`` says; ``names`` are people's names that are taken out wherever they stand.

    A name is found by its words in their order, whatever their case and what stands between them.
    """

    def __init__(self, settings: Anonymise, names: Iterable[str] = (), texts: Texts | None = None) -> None:
        self._texts = texts or load_anonymiser(settings)
        self._keep = [re.compile(pattern) for pattern in settings.keep]
        split = (tuple(_words(name)) for name in names)
        self._names = frozenset(words for words in split if len(words) >= _SHORTEST)
        self._lengths = sorted({len(words) for words in self._names}, reverse=True)

    def text(self, text: str, vault: Vault | None = None) -> str:
        """``text`` with placeholders for what was found and is not to be kept."""
        vault = vault or Vault()
        named = self._without_names(text, vault)
        done = self._texts.anonymise(named, vault, own=True)
        pieces, at = [], 0
        for found in done.found:
            original = named[found.start : found.end]
            stays = any(pattern.fullmatch(original) for pattern in self._keep)
            pieces += [named[at : found.start], original if stays else found.placeholder]
            at = found.end
        return "".join([*pieces, named[at:]])

    def raw(self, raw: str) -> str:
        """A row of a file, as it may be shown to people: the fields of a JSON object are known by their names."""
        vault = Vault()
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return self._texts.anonymise(self._without_names(raw, vault), vault, own=True).text
        # By a vault of its own: what the first one gave out is then text like any other, and stays.
        return orjson.dumps(self._texts.anonymise_json(self._all_without_names(value, vault))).decode()

    def _all_without_names(self, value: Any, vault: Vault) -> Any:
        if isinstance(value, str):
            return self._without_names(value, vault)
        if isinstance(value, dict):
            return {name: self._all_without_names(inner, vault) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._all_without_names(inner, vault) for inner in value]
        return value

    def _without_names(self, text: str, vault: Vault) -> str:
        if not self._names:
            return text
        vault.reserve(text)
        found = list(_WORD.finditer(text))
        folded = [fold(match.group()).text.casefold() for match in found]
        pieces, at, index = [], 0, 0
        while index < len(found):
            ends = (n for n in self._lengths if index + n <= len(folded))
            length = next((n for n in ends if tuple(folded[index : index + n]) in self._names), 0)
            if length:
                start, end = found[index].start(), found[index + length - 1].end()
                original = text[start:end]
                pieces += [text[at:start], vault.placeholder("PERSON", original, fold(original).text)]
                at = end
            index += length or 1
        return "".join([*pieces, text[at:]])


def _words(text: str) -> list[str]:
    return [fold(found.group()).text.casefold() for found in _WORD.finditer(text)]
