"""Messages with planted identifiers, harmless ones, and how to see whether an identifier is still there.

``planted.jsonl``: one message a line, ``{"text", "planted"}``; every planted string stands in its text. All persons,
numbers and addresses are invented or reserved for examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from harness.data.folding import fold

_HERE = Path(__file__).parent


class Message(NamedTuple):
    """A message and the identifiers that were planted in it."""

    text: str
    planted: tuple[str, ...]


def planted() -> list[Message]:
    """The 201 messages."""
    lines = (_HERE / "planted.jsonl").read_bytes().splitlines()
    return [Message(row["text"], tuple(row["planted"])) for row in map(orjson.loads, lines)]


def harmless() -> list[str]:
    """A hundred sentences of order talk that say nothing of anybody."""
    return (_HERE / "harmless.txt").read_text(encoding="utf-8").splitlines()


def survivors(text: str, identifiers: Iterable[str]) -> list[str]:
    """The identifiers that can still be read in a text: as written, in other letters, by their digits, by one name."""
    seen = re.sub(r"<[A-Z_]+_\d+>", "\x00", text)
    plain = fold(seen).text.casefold()
    unspaced = re.sub(r"[ .\-/()]", "", plain)
    return [found for found in identifiers if any(form in plain or form in unspaced for form in _forms(found, plain))]


def _forms(identifier: str, plain: str) -> Iterator[str]:
    folded = fold(identifier).text.casefold()
    yield folded
    digits = "".join(c for c in folded if c.isdigit())
    if len(digits) >= 5:
        yield digits
    if not digits and "@" not in folded:
        yield from (word for word in re.findall(r"[^\W\d_]{4,}", folded) if re.search(rf"\b{word}\b", plain))


def bytes_of(identifier: str) -> Iterator[bytes]:
    """How an identifier may stand in a file: as written, in lower case, escaped, as digits if they are many."""
    for form in {identifier, identifier.casefold(), fold(identifier).text, fold(identifier).text.casefold()}:
        yield form.encode()
        yield orjson.dumps(form)[1:-1]
        yield form.encode("ascii", "backslashreplace")
    digits = "".join(c for c in fold(identifier).text if c.isdigit())
    if len(digits) >= 8:
        yield digits.encode()
