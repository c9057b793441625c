"""Values of promptfoo's assertions as JavaScript would read them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import regex

_ESCAPES = {"d": "0-9", "w": "A-Za-z0-9_"}
_WORD = "[A-Za-z0-9_]"
_EDGE = f"(?:(?<={_WORD})(?!{_WORD})|(?<!{_WORD})(?={_WORD}))"
_INSIDE = f"(?:(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD}))"


def js_text(value: Any) -> str:
    """``String(value)``: true, null and 1.0 as JavaScript writes them."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else format(Decimal(repr(value)), "f")
    return str(value)


def comma_separated(text: str) -> list[str]:
    """The fields of a text such as ``red, "blue, or navy"``; ValueError for a quote that is never closed.

    Repeated commas count once; inside quotes ``\\"`` and ``""`` stand for a quote.
    """
    fields: list[str] = []
    place = 0
    while place < len(text):
        if text[place] == "," or text[place].isspace():
            place += 1
        elif text[place] == '"':
            field, place = _quoted(text, place + 1)
            fields.append(field)
        else:
            end = text.find(",", place)
            end = len(text) if end < 0 else end
            fields.append(text[place:end].strip())
            place = end
    return fields


def _quoted(text: str, place: int) -> tuple[str, int]:
    field = ""
    while place < len(text):
        if text[place] in '\\"' and text[place + 1 : place + 2] == '"':
            field, place = field + '"', place + 2
        elif text[place] == '"':
            rest = text[place + 1 :].lstrip()
            if rest and not rest.startswith(","):
                message = f"a comma must follow the quoted field {field!r}"
                raise ValueError(message)
            return field, place + 1
        else:
            field, place = field + text[place], place + 1
    message = f"the quote before {field[:40]!r} is never closed"
    raise ValueError(message)


def python_pattern(pattern: str) -> str:
    r"""A JavaScript regular expression (no flags) in the syntax of the package ``regex``; ValueError if it is none.

    Where the two read a sign differently the sign is replaced: ``$`` is the end of the text only, ``\d``, ``\w`` and
    ``\b`` know ASCII only, the dot stops at every line end.
    """
    if found := regex.search(r"\(\?(?:[aiLmsux]+[:)]|P|#|\(|>)", pattern):
        message = f"{found.group(0)!r} is not JavaScript, which calls the whole pattern invalid"
        raise ValueError(message)
    made = "".join(_translated(pattern))
    try:
        regex.compile(made)
    except regex.error as error:
        message = f"not a regular expression: {error}"
        raise ValueError(message) from error
    return made


def _translated(pattern: str) -> list[str]:
    parts: list[str] = []
    place, inside = 0, False
    while place < len(pattern):
        sign = pattern[place]
        if sign == "\\":
            parts.append(_escape(pattern[place + 1 : place + 2], inside))
            place += 2
            continue
        if inside:
            inside = sign != "]"
            parts.append("\\[" if sign == "[" else sign)
        elif pattern.startswith(("[^]", "[]"), place):
            parts.append("[\\s\\S]" if pattern[place + 1] == "^" else "(?!)")
            place += 3 if pattern[place + 1] == "^" else 2
            continue
        else:
            inside = sign == "["
            parts.append({"$": "\\Z", ".": "[^\\n\\r\\u2028\\u2029]"}.get(sign, sign))
        place += 1
    return parts


def _escape(sign: str, inside: bool) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign] if inside else f"[{_ESCAPES[sign]}]"
    if sign.lower() in _ESCAPES and not inside:
        return f"[^{_ESCAPES[sign.lower()]}]"
    if sign == "b":
        return "\\x08" if inside else _EDGE
    if sign == "B" and not inside:
        return _INSIDE
    return f"\\{sign}" if not sign.isalpha() or sign in "DWsSnrtvfxukpP" else sign
