"""How somebody is reached: e-mail, telephone, profiles, and links that lead to one person's page."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.data.spans import Span

_TLD = (
    r"(?:com|org|net|edu|gov|info|biz|io|dev|app|shop|online|email|me|eu|uk|de|at|ch|fr|nl|be|lu|ie|es|pt|it|pl|cz|sk|"
    r"hu|ro|bg|gr|se|no|dk|fi|is|ee|lv|lt|tr|ru|ua|us|ca|mx|br|ar|cl|co|au|nz|jp|kr|cn|in|za|ng|ke|ma|eg|il|ae|example|"
    r"test|invalid)\b"
)
_SIGN = r"(?:@|&#0{0,3}64;|&#x0{0,3}40;|&commat;|%40|\\u0040)"
_OPEN, _CLOSE = r" {0,2}[(\[{<|*_\-]{1,2} ?", r" ?[)\]}>|*_\-]{1,2} {0,2}"
_AT = rf"{_OPEN}(?:at|@|aet|arroba|chiocciola){_CLOSE}"
_DOT = rf"(?:\.| \. |{_OPEN}(?:dot|punkt|punto|point|\.){_CLOSE}| (?:dot|punkt|punto|point) )"
_LOCAL = r"(?:\"[^\"\n@]{1,64}\"|(?<![\w.+\-])[\w.!#$%'*+^{|}~\-]{1,64})"
_NAME = r"[^\W_](?:[\w\-]{0,61}[^\W_])?"
_EMAILS = tuple(
    (re.compile(pattern, re.IGNORECASE), score)
    for pattern, score in (
        (rf"{_LOCAL}(?:{_SIGN} ?| {_SIGN} ){_NAME}(?:\.{_NAME}){{1,8}}", 0.9),
        (rf"{_LOCAL}(?:{_SIGN} ?| {_SIGN} ){_NAME}(?: ?\. {_NAME}| \.{_NAME}){{0,3}} \. ?{_TLD}", 0.7),
        (rf"{_LOCAL}(?:{_AT}|{_SIGN}){_NAME}(?:{_DOT}{_NAME}){{0,4}}{_DOT}{_TLD}", 0.8),
        (rf"{_LOCAL} at {_NAME}(?: dot {_NAME}){{0,4}} dot {_TLD}", 0.7),
        (rf"(?:\b[\w.] ){{2,40}}{_SIGN} ?(?:[\w.\-]{{1,30}} ){{0,30}}\. ?{_TLD}", 0.7),
        (rf"{_LOCAL}{_SIGN}[\w\-]{{2,60}}\b", 0.45),
    )
)
# "I looked at example.com" is no address, "mail me: dana at example.com" is one.
_MAIL_CUE = re.compile(
    rf"\b(?:e-?mail|mail|write|reach|contact)\b[^\n@]{{0,30}}?[ :]({_LOCAL} at {_NAME}(?:\.{_NAME}){{0,4}}\.{_TLD})",
    re.IGNORECASE,
)
_AT_SOMEHOW = re.compile(rf"{_SIGN}|\b(?:at|aet|arroba|chiocciola)\b", re.IGNORECASE)

PHONE = re.compile(
    r"(?<![\w.,\-/])(?:\+ ?|00)?(?:\((?=[^()]{1,8}\) ?\d) ?)?\d(?:[ .\-/()]{0,3}\d){5,16}(?!\d|[.,/\-]\d)"
)
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .\-]?)?(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}")
_PHONE_CUE = re.compile(
    r"(?:\b(?:phones?|tele(?:ph|f)on[eo]?|tel|call(?:s|back)?|ring|rang|mob(?:ile|il)?|cell|cel|handy|whatsapp|signal|"
    r"sms|text|reach|contact|fax|ph|landline|hotline|line|rappele[rz]|anrufen|ruckruf|rufnummer)\b|"
    r"\b[mtfp]:)[^\n\d]{0,40}$",
    re.IGNORECASE,
)
_PHONE_AFTER = re.compile(
    r" ?(?:is|was) (?:my|our|the|her|his) (?:\w+ ){0,2}(?:number|phone|mobile|cell|line)\b", re.IGNORECASE
)
_NUMBER_CUE = re.compile(r"\b(?:number|nummer|numero|no|nr)\b[^\n\d]{0,12}$", re.IGNORECASE)
_DATE_LIKE = re.compile(
    r"(?:\d{1,2}[./\-]\d{1,2}[./\-](?:\d{4}|\d{2})|(?:19|20)\d\d[./\-]\d{1,2}[./\-]\d{1,2})(?:[ \-]+[\d./: \-]*)?"
)
_DIGIT_WORD = (
    r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|null|eins|zwei|drei|vier|funf|sechs|sieben|acht|neun)"
)
_SPELLED = re.compile(rf"\b(?:(?:double |triple )?{_DIGIT_WORD}\b[ ,.\-]{{0,3}}){{5,40}}{_DIGIT_WORD}\b", re.IGNORECASE)

_HANDLE = re.compile(r"(?<![\w.@/])@[A-Za-z_][\w.]{1,40}(?<!\.)")
_HANDLE_CUE = re.compile(
    r"\b(?:user ?name|login|nick(?:name)?|handle|insta(?:gram)?|telegram|twitter|tiktok|skype|discord|account|username)"
    r"(?:(?: name)?(?: is|:| =|=)? ?)[\"']?(?=[\w.\-]*(?:[\d_]|\.\w))([A-Za-z][\w.\-]{2,40}\b)",
    re.IGNORECASE,
)
_URL = re.compile(
    r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"'\ue000]{2,2000}|"
    r"(?<![\w@.\-])[a-z0-9\-]{1,63}(?:\.[a-z0-9\-]{1,63}){0,4}\.[a-z]{2,10}/[^\s<>\"'\ue000]{2,2000}",
    re.IGNORECASE,
)
# A shop's front page says nothing of anybody; a path, a query or a bare address of a machine may.
_PLAIN_URL = re.compile(r"(?:(?:https?|ftp)://)?[a-z][\w.\-]*(?::\d+)?/?", re.IGNORECASE)


def emails(text: str) -> Iterator[Span]:
    """Addresses with @, and those that were written for people: ``dana (at) example (dot) com``."""
    if not _AT_SOMEHOW.search(text):
        return
    for pattern, score in _EMAILS:
        for found in pattern.finditer(text):
            yield Span(*found.span(), "EMAIL", score)
    for found in _MAIL_CUE.finditer(text):
        yield Span(*found.span(1), "EMAIL", 0.6)


def phones(text: str) -> Iterator[Span]:
    """Numbers with + or 00, with a trunk 0, in North American groups, after a word for a telephone, or spelled out."""
    for found in PHONE.finditer(text):
        score = _phone_score(text, found.group(), found.start())
        if score:
            yield Span(*found.span(), "PHONE", score)
        elif _PHONE_AFTER.match(text, found.end()):
            yield Span(*found.span(), "PHONE", 0.55)
    for found in _SPELLED.finditer(text):
        yield Span(*found.span(), "PHONE", 0.6)


def _phone_score(text: str, written: str, start: int) -> float:
    if _DATE_LIKE.fullmatch(written):
        return 0.0
    digits = "".join(c for c in written if c.isdigit())
    if written.startswith(("+", "00")):
        return 0.75 if len(digits) >= 7 else 0.0
    if _NORTH_AMERICAN.fullmatch(written):
        return 0.7
    if digits.startswith("0") and 8 <= len(digits) <= 13:
        return 0.6
    if _PHONE_CUE.search(text, max(0, start - 60), start):
        return 0.55
    return 0.4 if _NUMBER_CUE.search(text, max(0, start - 60), start) else 0.0


def handles(text: str) -> Iterator[Span]:
    """Names of profiles: ``@dana_bakes``, and what follows a word for a user name if it looks like one."""
    for found in _HANDLE.finditer(text):
        yield Span(*found.span(), "HANDLE", 0.5)
    for found in _HANDLE_CUE.finditer(text):
        yield Span(*found.span(1), "HANDLE", 0.6)


def links(text: str) -> Iterator[Span]:
    """Addresses of pages that may be one person's: with a path, a query, or a bare machine number for a host."""
    for found in _URL.finditer(text):
        address = found.group().rstrip(".,;:!?)]}")
        if not _PLAIN_URL.fullmatch(address):
            yield Span(found.start(), found.start() + len(address), "URL", 0.6)
