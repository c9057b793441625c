"""Links in a text, and where they lead: read the way that suspects more."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

_STOP = r"\s<>\"'`|^{}\[\]()，。、；：！？）】》」』]"
# Browsers also follow http:\\host, http:/host and //host, and run javascript: and data: links.
_LINK = re.compile(
    rf"(?:(?:https?|ftp|wss?):[\\/]+|(?<![\w:/\\])//(?=[\w\[])|(?<![\w.@/])www\.)(?:\[[0-9a-f:.]+\])?[^{_STOP}*"
    rf"|(?<![\w])(?:javascript|data|vbscript|file):(?=[^\s])[^{_STOP}*",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?<![\w.@/\\:-])(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}"
    r"(?:(?:com|net|org|info|biz|io|ai|app|dev|co|me|ru|cn|de|uk|fr|eu|us|xyz|top|site|online|shop|club|link|click)"
    r"(?![\w-]|\.[\w])|[a-z]{2,18}(?=/\w))[^\s<>\"'`]*",
    re.IGNORECASE,
)
_WEB = ("http", "https", "ftp", "ws", "wss")


def links_in(text: str) -> list[str]:
    """Links with a scheme, with ``//`` or ``www.``, and bare domains with a usual ending or a path."""
    text = unicodedata.normalize("NFKC", text)
    found = [match.group().rstrip(".,;:!?*_~") for match in _LINK.finditer(text)]
    return found + [match.group().rstrip(".,;:!?)*_~") for match in _BARE.finditer(_LINK.sub(" ", text))]


def host_of(link: str) -> str | None:
    """The host that a browser would ask for, in lower case; None where there is none to trust."""
    scheme, colon, rest = link.partition(":")
    if colon and scheme.lower() not in _WEB and "." not in scheme and not link.startswith("//"):
        return None
    rest = rest if colon and scheme.lower() in _WEB else link
    # A backslash ends the host for a browser, an @ moves it: both are read the way that suspects more.
    try:
        parts = urlsplit("//" + rest.replace("\\", "/").lstrip("/"))
        host = parts.hostname
    except ValueError:
        return None
    return host.rstrip(".").lower() if host else None


def leads_to(link: str, hosts: Sequence[str], *, subdomains: bool = True) -> bool:
    """Whether ``link`` leads to one of ``hosts`` (lower case) or, with ``subdomains``, below one."""
    host = host_of(link)
    return host is not None and any(host == own or (subdomains and host.endswith(f".{own}")) for own in hosts)


def is_host(text: str) -> bool:
    """Whether ``text`` is a plain host: no scheme, port or path."""
    return bool(text) and host_of("//" + text) == text
