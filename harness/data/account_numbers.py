"""Numbers that stand for a person or for what a person owns: cards, accounts, orders, customers, any long number."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.spans import Span

# How long the account numbers of a country are (ISO 13616): in a text, one ends where its country says.
_IBAN_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM TL", 24: "AD CZ DZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT", 26: "IS TR", 27: "BI FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_LENGTH_OF = {country: length for length, names in _IBAN_LENGTHS.items() for country in names.split()}
_IBAN_BEGINS = re.compile(r"(?<![A-Z0-9])[A-Z]{2} ?\d{2}")
_IBAN_NEXT = re.compile(r"[ .\-]{0,2}([A-Z0-9])")
_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_DIGITS = re.compile(r"(?<!\d)\d(?:[ .\-_/,\n]{0,3}\d){11,199}(?!\d)")
_CARD_CUE = re.compile(r"\b(?:cards?|visa|mastercard|amex|maestro|american express|karte|carte|tarjeta|carta)\b", re.I)

_ORDER = re.compile(r"(?<![A-Za-z0-9])ORD[ .:#_\-]{0,3}(?=\d)(\d(?: ?\d){3,9})(?!\d)", re.IGNORECASE)
_ORDER_WORD = (
    r"\b(?:orders?|bestellung|bestellnummer|bestellnr|auftrag|auftragsnummer|commande|pedido|ordine|bestelling|"
    r"zamowienie|bestallning|ordre|purchase|invoice|rechnung|parcel|paket|case|ticket|claim|booking|reference|ref)"
)
_SAID = r"(?:[ ,]{0,2}(?:number|numbers|no|nr|num|id|ids|code|is|was|ist|my|the|:|\.|#|=|-|\()){0,8}"
_ORDER_CUE = re.compile(_ORDER_WORD + _SAID + r"[ ,:#]{0,3}((?:[A-Z]{2,5}-)?\d(?:[ ]?\d){3,11})(?!\d)", re.IGNORECASE)
_HASH = re.compile(r"(?<![\w&])# ?(\d{4,12})(?!\d)")

_CUSTOMER = re.compile(r"(?<![A-Za-z0-9.])C[ \-]?\d{5}(?!\d)", re.IGNORECASE)
_CUSTOMER_CUE = re.compile(
    r"\b(?:customer|client|kunden?|kundin|member|membership|loyalty|bonus card|klant|kund|badge|staff|employee)"
    r"(?:(?:[ \-]?(?:id|number|no|nr|code|card|nummer|is|was|:|\.|#|=)){1,4}|(?<=badge) )"
    r"[ :#]{0,3}([A-Z]{0,4}-?\d[A-Z0-9\-]{2,14})\b",
    re.IGNORECASE,
)
_ACCOUNT_CUE = re.compile(
    r"\b(?:sort ?code|routing(?: number)?|account|acct|a/c|bank ?code|blz|konto(?:nummer|nr)?|bsb|bvn|clabe|bic)"
    r"(?:[ \-.]{0,2}(?:number|no|nr|is|was|ist|:|#|=)){0,4}[ :#]{0,3}(\d(?:[ \-]?\d){4,17})(?!\d)",
    re.IGNORECASE,
)
_WALLET = re.compile(r"\b(?:0x[0-9a-fA-F]{40}|(?:ltc1|bc1|addr1)[a-z0-9]{25,90}|[LM3T][1-9A-HJ-NP-Za-km-z]{32,33})\b")


def ibans(text: str) -> Iterator[Span]:
    """Bank accounts by country, length and checksum; a mistyped one by country and length."""
    upper = text.translate(_UPPER)
    for found in _IBAN_BEGINS.finditer(upper):
        length = _LENGTH_OF.get(found.group()[:2], 0)
        plain, end = _characters(upper, found.start(), length)
        if not plain or len(plain) < length:
            continue
        valid = int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1
        # Without the checksum, "it is 4111 1111..." must not be an account in Iceland: no space, most of it is digits.
        like = " " not in found.group() and sum(c.isdigit() for c in plain) > length // 2
        if valid or (like and not upper[end : end + 1].isalnum()):
            yield Span(found.start(), end, "IBAN", 1.0 if valid else 0.6)


def _characters(text: str, start: int, count: int) -> tuple[str, int]:
    """Up to ``count`` letters and digits from ``start`` on, however they are grouped, and where they end."""
    plain, end = "", start
    while len(plain) < count and (following := _IBAN_NEXT.match(text, end)):
        plain, end = plain + following.group(1), following.end()
    return plain, end


def cards(text: str) -> Iterator[Span]:
    """Payment cards by issuer and checksum, however they are grouped; without checksum beside a word for a card."""
    for found in _DIGITS.finditer(text):
        places = [place for place in range(*found.span()) if text[place].isdigit()]
        firsts = [i for i, place in enumerate(places) if i == 0 or places[i - 1] != place - 1]
        lasts = {i for i, place in enumerate(places) if i + 1 == len(places) or places[i + 1] != place + 1}
        for first in firsts:
            for last in range(first + 18, first + 11, -1):
                if last in lasts and _is_card("".join(text[p] for p in places[first : last + 1])):
                    yield Span(places[first], places[last] + 1, "CARD", 1.0)
                    break
        if _CARD_CUE.search(text, max(0, found.start() - 60), found.start()):
            yield Span(*found.span(), "CARD", 0.5)


def _is_card(digits: str) -> bool:
    if digits[0] not in "23456":
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def orders(text: str) -> Iterator[Span]:
    """Order numbers as the shipped shop writes them (``ORD-47105``), and numbers after a word for an order."""
    for found in _ORDER.finditer(text):
        yield Span(*found.span(), "ORDER", 0.9)
    for found in _ORDER_CUE.finditer(text):
        digits = sum(c.isdigit() for c in found.group(1))
        # "order 2000 pieces" is no order number, "order no. 2000" is one.
        if digits >= 5 or re.search(r"(?:no|nr|number|id|#)[ .:#]*$", text[found.start() : found.start(1)], re.I):
            yield Span(*found.span(1), "ORDER", 0.6)
    for found in _HASH.finditer(text):
        yield Span(*found.span(), "ORDER", 0.5)


def customers(text: str) -> Iterator[Span]:
    """Customer numbers as the shipped shop writes them (``C-70412``), and those after a word for a customer."""
    for found in _CUSTOMER.finditer(text):
        yield Span(*found.span(), "CUSTOMER", 0.6)
    for found in _CUSTOMER_CUE.finditer(text):
        yield Span(*found.span(1), "CUSTOMER", 0.6)


def accounts(text: str) -> Iterator[Span]:
    """Numbers after a word for a bank account."""
    for found in _ACCOUNT_CUE.finditer(text):
        yield Span(*found.span(1), "ACCOUNT", 0.6)


def wallets(text: str) -> Iterator[Span]:
    """Wallets that presidio has no checksum for: Ethereum, Litecoin, Tron."""
    for found in _WALLET.finditer(text):
        yield Span(*found.span(), "CRYPTO", 0.6)
