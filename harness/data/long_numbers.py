"""The net below the other recognisers: a long number that is no amount, date or size means somebody or something."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.spans import Span

# A parcel label, a membership, a national number of some country: nobody can list them, everybody types them.
_ENOUGH = 6
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z\-./]{0,12}\d)[A-Za-z0-9]+(?:[\-./][A-Za-z0-9]+){0,12}(?![A-Za-z0-9])")
_GROUPS = re.compile(r"(?<![\d.,])\d{3,6}(?: \d{3,6}){1,5}(?![\d,.]\d|\d)")
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-./]?(?:0?[1-9]|1[0-2])[-./]?(?:0?[1-9]|[12]\d|3[01])(?:T\d{4,6}Z?)?|"
    r"(?:0?[1-9]|[12]\d|3[01])[-./](?:0?[1-9]|[12]\d|3[01])[-./](?:19|20)?\d\d)(?!\d)"
)
_YEARS = re.compile(r"(?:19|20)\d\d(?:[-/](?:19|20)?\d\d)+")
_AMOUNT = re.compile(r"\d{1,3}(?:[., ]\d{3})+(?:[.,]\d{1,2})?|\d+[.,]\d{1,2}")
_SIZES = re.compile(r"\d+(?:[xX]\d+)+[a-z]{0,2}")
_HEX = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CURRENCY = r"EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|CZK|INR|JPY|AUD|CAD"
_BEFORE = re.compile(rf"(?:[€$£¥]|\b(?:{_CURRENCY}|Rs\.?)) ?$", re.IGNORECASE)
_UNIT = (
    rf"[€$£¥%]|(?:{_CURRENCY}|euros?|dollars?|pounds?|quid|cents?|kr|zl|rupees?|yen|km|cm|mm|m|kg|g|mg|ml|l|m?ah|k?wh?|v|"
    r"lm|lumens?|lux|rpm|btu|[kmg]?hz|[kmgt]i?b|db|px|dpi|pieces?|pcs|people|persons|customers|users|orders|units|items|"
    r"steps|words|tokens|characters|times|points|pages|hours?|hrs?|minutes?|mins?|seconds?|secs?|ms|days?|weeks?|months?|"
    r"years?|sq|feet|foot|ft|inch(?:es)?|miles?|metres?|meters?|litres?|degrees)\b"
)
_AFTER = re.compile(rf" ?(?:{_UNIT})", re.IGNORECASE)
_WITH_UNIT = re.compile(rf"\d+(?:{_UNIT})", re.IGNORECASE)
_ARTICLE = re.compile(
    r"\b(?:ean|isbn|gtin|upc|sku|article|artikel|item|model|part|version|build)\b[ a-z:.#]{0,12}$", re.I
)


def long_numbers(text: str) -> Iterator[Span]:
    """Five digits on their own, six in one run, nine in groups; no amounts, dates, sizes, digests, article numbers."""
    for found in _TOKEN.finditer(text):
        if _counts(found.group()) and not _is_quantity(text, *found.span()):
            yield Span(*found.span(), "NUMBER", 0.4)
    for found in _GROUPS.finditer(text):
        digits = sum(c.isdigit() for c in found.group())
        if digits >= 9 and not _is_quantity(text, *found.span()):
            yield Span(*found.span(), "NUMBER", 0.4)


def _counts(token: str) -> bool:
    """Whether a token without spaces holds a number that is long enough."""
    if _HEX.fullmatch(token) or _SIZES.fullmatch(token) or _YEARS.fullmatch(token) or _WITH_UNIT.fullmatch(token):
        return False
    token = _DATE.sub("", token)
    digits = sum(c.isdigit() for c in token)
    if _AMOUNT.fullmatch(token):
        return digits > 9
    if token.isdigit():
        return digits >= _ENOUGH - 1
    parts = re.split(r"[-./]", token)
    longest = max((sum(c.isdigit() for c in part) for part in parts), default=0)
    prefixed = len(parts) > 1 and parts[0].isalpha() and longest >= _ENOUGH - 1
    return longest >= _ENOUGH or digits >= _ENOUGH + 3 or prefixed


def _is_quantity(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 30) : start]
    return bool(_BEFORE.search(before) or _AFTER.match(text, end) or _ARTICLE.search(before))
