"""Text as a detector should read it: one spelling for every way to write a letter, a digit, a dash or a space."""

from __future__ import annotations

import re
import unicodedata
from array import array
from dataclasses import dataclass
from functools import lru_cache

# Letters of other alphabets that look like Latin ones: "dаna@example.com" with a Cyrillic а reads the same to a person.
_LOOK_ALIKE = str.maketrans(
    "аеорсухіѕјԁԛԝҺһАВЕКМНОРСТУХІЅЈοανικρυΑΒΕΖΗΙΚΜΝΟΡΤΥΧıøłđðþØŁĐÐÞ",
    "aeopcyxisjdqwhhABEKMHOPCTYXISJoavikpuABEZHIKMNOPTYXioldd" + "pOLDDP",
)
_NAMED = {
    "\u2028": "\n", "\u2029": "\n", "\x85": "\n", "\x0b": "\n", "\x0c": "\n", "\n": "\n", "\r": "\n", "\t": " ",
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
    "·": ".", "•": ".", "∙": ".", "⋅": ".", "‧": ".", "。": ".", "｡": ".", "、": ",", "−": "-", "\u2800": " ",
    "‘": "'", "’": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "⁄": "/", "∕": "/",
}  # fmt: skip
# Letters that are drawn as nothing: they hide a number from a pattern and from nobody else.
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0")
_ORDINARY = re.compile(r"[\x20-\x5b\x5d-\x7e\n\t]*")
# Texts are often JSON, and JSON within JSON: there a line ends with backslashes and an n, and a text with a quote.
_PARTS = re.compile(r"\\+([nrt\"]|u[0-9a-fA-F]{4})|.", re.DOTALL)
_JSON = re.compile(r"\s*[{\[].*\".*[}\]]\s*", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\n", "t": " ", '"': '"'}


@dataclass(frozen=True, slots=True)
class Folded:
    """``text`` for detectors; ``starts`` and ``ends`` say where each of its characters stands in the original."""

    text: str
    starts: array[int] | range
    ends: array[int] | range

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original behind ``text[start:end]``, with what is drawn as nothing after its end."""
        return self.starts[start], self.ends[end - 1]


def fold(original: str) -> Folded:
    """Read full-width and styled characters, look-alikes and all dashes and spaces as ASCII where ASCII means the same.

    Accents, zero-width and control characters are left out. The escapes of JSON are read as what they stand for, and
    in a text that is JSON every quote as the end of a line.
    """
    quoted = '"' in original and _JSON.fullmatch(original)
    if not quoted and _ORDINARY.fullmatch(original):
        return Folded(original.replace("\t", " "), range(len(original)), range(1, len(original) + 1))
    pieces: list[str] = []
    starts, ends = array("I"), array("I")
    for part in _PARTS.finditer(original):
        read = _escaped(part.group(1)) if part.group(1) else _read(part.group())
        if quoted and read == '"':
            read = "\n"
        if read:
            pieces.append(read)
            for _ in read:
                starts.append(part.start())
                ends.append(part.end())
        elif ends:
            ends[-1] = part.end()
    return Folded("".join(pieces), starts, ends)


def _escaped(escape: str) -> str:
    return _read(chr(int(escape[1:], 16))) if escape[0] == "u" else _ESCAPED[escape]


@lru_cache(maxsize=8192)
def _read(character: str) -> str:
    """What one character is read as; empty for one that is drawn as nothing."""
    named = _NAMED.get(character)
    if named is not None:
        return named
    if character.isascii():
        return character if character.isprintable() else ""
    if character in _UNSEEN:
        return ""
    return "".join(_plain(part) for part in unicodedata.normalize("NFKD", character))


def _plain(part: str) -> str:
    kind = unicodedata.category(part)
    if kind in ("Mn", "Me", "Cf", "Cc") or part in _UNSEEN:
        return ""
    if kind == "Pd":
        return "-"
    if kind == "Zs":
        return " "
    digit = unicodedata.digit(part, None)
    if digit is not None:
        return str(digit)
    named = _NAMED.get(part)
    return part.translate(_LOOK_ALIKE) if named is None else named
