"""What only one person should know or be: passwords, codes, keys; documents with a word for them; days of birth."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.spans import Span
from harness.data.words import either

_WORD_FOR_PASSWORD = rf"\b{either('pass ?word|passwd|passwort|kennwort|pwd|pw|passphrase|mot de passe|contrasena')}"
# "My password was changed" gives nothing away: without a colon, a password has a digit or a sign in it.
_SECRETS = (
    re.compile(rf"{_WORD_FOR_PASSWORD} ?(?:is|ist|lautet)? ?[:=] ?[\"']?([^\s\"',;]{{4,64}})", re.IGNORECASE),
    re.compile(
        rf"{_WORD_FOR_PASSWORD}(?: (?:is|was|ist|war|lautet))? [\"']?"
        r"(?=[^\s\"',;]{0,63}(?:\d|[$%&*+=@#^~_!?]\w))([^\s\"',;]{4,64})",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:pin|tan|otp|cvv2?|cvc2?|cid|security code|code|gate ?code|door ?code|box code|puk)"
        r"(?: ?(?:is|was|ist|it|:|=|number|nummer)){0,3} ?[\"']?(\d{3,8}#?)(?![\w.,]?\d)",
        re.IGNORECASE,
    ),
)
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|api|key|token|ghp|gho|ghs|glpat|xox[abp]|so|hf|npm|pypi|AKIA|ASIA|AIza)[_\-]?[A-Za-z0-9_\-]{16,200}\b|"
    r"\beyJ[A-Za-z0-9_\-]{8,4000}\.[A-Za-z0-9_\-]{8,8000}(?:\.[A-Za-z0-9_\-]*)?|"
    r"(?<=Bearer )[A-Za-z0-9._\-]{12,}|"
    r"-----BEGIN [A-Z ]{3,40}-----[\s\S]{0,8000}?(?:-----END [A-Z ]{3,40}-----|\Z)"
)
_WORD_FOR_DOCUMENT = either(
    r"passport|pass(?:nummer|eport|aporte)|reisepass|ausweis|personalausweis|id card|identity card|identity number",
    r"id number|id|driver'?s? licen[cs]e|driving licen[cs]e|fuhrerschein|permis|social security|ssn|national insurance",
    r"nino|national id|tax (?:file )?(?:id|number)|taxpayer|tfn|steuer-?id|steuernummer|vat|mwst|ust-?id|nif|nie",
    r"dni|bsn|cpr|cpf|pesel|nhs|medicare|aadhaar|pan|curp|ahv|svnr|henkilotunnus|personnummer|personal number",
    r"fodselsnummer|codice fiscale|securite sociale|rodne cislo|insurance|krankenkasse|member",
)
_DOCUMENT = re.compile(
    rf"\b{_WORD_FOR_DOCUMENT}\b"
    r"(?:[ \-.:#=(]|\b(?:card|number|nummer|numero|no|nr|id|of the employee|is|was|ist|de)\b){1,12}"
    r"([A-Za-z]{0,4}\d[A-Za-z0-9]*(?:[ .\-/]?[A-Za-z]{0,2}\d[A-Za-z0-9]*){0,7}(?:[ \-][A-Za-z])?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_MACHINE_READABLE = re.compile(r"[PIACV][A-Z<][A-Z]{3}[A-Z0-9<]{10,60}<[A-Z0-9<]*")
_FRENCH = re.compile(r"(?<!\d)[12] \d\d (?:0[1-9]|1[0-2]|[2-9]\d) \d[\dAB] \d{3} \d{3}(?: \d\d)?(?!\d)")

_WORD_FOR_BIRTH = either(
    r"born(?: on| in)?|birth ?day|birth ?date|birth|d\.?o\.?b|geboren(?: am)?|geb|geburtsdatum|nee?(?: le)?|naissance",
    r"nacid[oa]|nacimiento|nat[oa] il|geboortedatum|urodzon[ay]|b",
)
_MONTH = r"[A-Za-z]{3,10}\.?"
_DAY = either(
    rf"\d{{1,2}}(?:st|nd|rd|th|\.)?(?: of)? ?{_MONTH},? ?(?:\d{{4}}|\d\d\b)?",
    rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:\d{{4}}|\d\d\b)",
    r"\d{1,4}[./\- ]\d{1,2}[./\- ]\d{1,4}|(?:19|20)\d{6}",
)
_BIRTH = re.compile(rf"\b{_WORD_FOR_BIRTH}\b\W{{0,3}}(?:(?:is|was|on|am|le|:|the) ?){{0,2}}({_DAY})", re.IGNORECASE)
_PLATE = re.compile(
    r"\b(?:plates?|registration|reg|kennzeichen|number ?plate|license plate|licence plate|van|car|plaka)\b"
    r"[^\n\d]{0,25}?\b([A-Z]{1,3}[ \-]?[A-Z]{0,2}[ \-]?\d{1,4}(?: ?[A-Z]{1,3})?)\b"
)


def secrets(text: str) -> Iterator[Span]:
    """Passwords and codes after their word, and keys that are known by their first letters."""
    for pattern in _SECRETS:
        for found in pattern.finditer(text):
            yield Span(*found.span(1), "SECRET", 0.6)
    for found in _KEYS.finditer(text):
        yield Span(*found.span(), "SECRET", 0.9)


def documents(text: str) -> Iterator[Span]:
    """Numbers after a word for a document or an authority, and French social security numbers."""
    for found in _DOCUMENT.finditer(text):
        if sum(c.isdigit() for c in found.group(1)) >= 4:
            yield Span(*found.span(1), "NATIONAL_ID", 0.55)
    for found in _FRENCH.finditer(text):
        yield Span(*found.span(), "NATIONAL_ID", 0.8)


def machine_readable(text: str) -> Iterator[Span]:
    """The lines of a passport that machines read: the name stands in them."""
    for found in _MACHINE_READABLE.finditer(text):
        yield Span(*found.span(), "NATIONAL_ID", 0.8)


def births(text: str) -> Iterator[Span]:
    """Days after a word for birth; a day alone is a delivery date far more often."""
    for found in _BIRTH.finditer(text):
        yield Span(*found.span(1), "BIRTH_DATE", 0.7)


def plates(text: str) -> Iterator[Span]:
    """Number plates after a word for one."""
    for found in _PLATE.finditer(text):
        yield Span(*found.span(1), "VEHICLE", 0.5)
