"""Links in an output, and where they lead."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from harness.evals.checks.registry import check
from harness.evals.checks.subject import Run, Score, Subject, shown, verdict

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


@check("no_urls_outside", when_empty="fail")
def no_urls_outside(*, allow: list[str] | None = None, subdomains: bool = True) -> Run:
    """Every link of the output leads to a host of ``allow`` (or, with ``subdomains``, below one); none is fine too.

    ``user@host`` and look-alikes such as ``shop.example.evil.com`` are judged by the host asked in the end, and
    ``javascript:`` and ``data:`` links never pass. An empty output gives 0.
    """
    hosts = tuple(host.strip().lower().rstrip(".") for host in allow or ())
    for host in hosts:
        if not host or host_of("//" + host) != host:
            message = f"setting 'allow' = {shown(host)}: give hosts such as 'shop.example', no scheme, port or path"
            raise ValueError(message)

    def allowed(link: str) -> bool:
        host = host_of(link)
        return host is not None and any(host == own or (subdomains and host.endswith(f".{own}")) for own in hosts)

    def run(subject: Subject) -> Score:
        outside = [link for link in links_in(subject.output) if not allowed(link)]
        return verdict(not outside, f"leads outside: {', '.join(map(shown, outside[:5]))}")

    return run
