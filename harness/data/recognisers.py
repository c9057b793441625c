"""Which recognisers look at a text, and what each kind of identifier is called.

What no rule here finds: a name without a word, a greeting, a signature or a well-known given name beside it; names in
lower case, unless the text says that it is one; a house without a street; a description that fits one person only
("the dentist opposite your shop"); what is encoded (base64, spelled backwards, letters for digits); languages other
than English and, for names and addresses, the commonest phrases of a dozen European ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.data.account_numbers import accounts, cards, customers, ibans, orders, wallets
from harness.data.addresses import addresses
from harness.data.confidential import births, documents, machine_readable, plates, secrets
from harness.data.contacts import emails, handles, links, phones
from harness.data.long_numbers import long_numbers
from harness.data.people import beside, people
from harness.data.spans import Recogniser, Span

# Kind of identifier -> what it means, as the documentation and the messages say it.
ENTITIES = {
    "ACCOUNT": "a bank account that is no IBAN, a sort code",
    "ADDRESS": "a street with its number, a postcode with its town, a box",
    "BIRTH_DATE": "a day after a word for birth",
    "CARD": "a payment card",
    "CRYPTO": "a wallet",
    "CUSTOMER": "a customer number (C-70412)",
    "EMAIL": "an e-mail address, also written out for people",
    "HANDLE": "the name of a profile or a login",
    "IBAN": "a bank account",
    "IP": "an address of a machine, version 4 or 6, or its MAC address",
    "NATIONAL_ID": "a number of a state or an insurance for one person, a passport, a licence",
    "NUMBER": "a long number of unknown meaning: a parcel label, a reference",
    "ORDER": "an order number (ORD-47105)",
    "PERSON": "a name of a person, as far as rules find it",
    "PHONE": "a telephone number",
    "SECRET": "a password, a code, a key",
    "URL": "a link with a path or a query",
    "VEHICLE": "a number plate after a word for one",
}

# Below these scores a kind is noise, whatever the threshold: measured on ordinary order talk.
FLOORS = {"IP": 0.5, "NATIONAL_ID": 0.4}

_WITH_DIGITS: tuple[Recogniser, ...] = (
    ibans, cards, orders, customers, accounts, wallets, long_numbers, phones, documents, births, plates, addresses,
)  # fmt: skip
_ANY_TEXT: tuple[Recogniser, ...] = (emails, handles, links, secrets, machine_readable, people)
_SPELLED = re.compile(r"\b(?:oh|zero|one|two|three|five|seven|null|eins|zwei|drei|sieben)\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_STREET = re.compile(r"\b(?:Street|Road|Avenue|Lane|Drive|Close|Crescent|Terrace|Grove|Mews)\b")


def own_findings(text: str) -> Iterator[Span]:
    """What the recognisers of this room find in a folded text; spans may overlap."""
    found = list(_first(text))
    yield from found
    yield from beside(text, found)


def _first(text: str) -> Iterator[Span]:
    for recogniser in _ANY_TEXT:
        yield from recogniser(text)
    if _DIGIT.search(text):
        for recogniser in _WITH_DIGITS:
            yield from recogniser(text)
        return
    # Most messages have no digit: only what can do without one is asked.
    if _SPELLED.search(text):
        yield from phones(text)
    if _STREET.search(text):
        yield from addresses(text)


def strong_enough(spans: Iterable[Span], threshold: float, entities: frozenset[str]) -> list[Span]:
    """The spans of the wanted kinds that reach the threshold and their kind's own floor."""
    return [s for s in spans if s.entity in entities and s.score >= max(threshold, FLOORS.get(s.entity, 0.0))]
