"""What answers give away: to other sites, to whoever chose the host, and in the text of errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from harness.safety.findings import Finding
from harness.safety.server.target import CHAT, Target, bearer
from harness.safety.server.wire import Request

_ELSEWHERE = "https://somewhere-else.example"
_TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"]+\", line \d+|\bat [\w.$]+\([\w]+\.(?:java|js):\d+\)"
)
_PATH = re.compile(r"(?<![\w./:])/(?:home|root|usr|var|opt|etc|srv|tmp|Users)/[\w.-]+(?:/[\w.-]+)*|site-packages/\w+")
_VERSIONED = re.compile(r"/?\d+\.\d+")


def other_sites(target: Target) -> Iterator[Finding]:
    """Whether pages of other sites may read answers in their visitors' browsers."""
    own = bearer(target.keys.user) if target.keys.user else ()
    preflight = (("Origin", _ELSEWHERE), ("Access-Control-Request-Method", "POST"),
                 ("Access-Control-Request-Headers", "authorization"))  # fmt: skip
    for request in (
        Request("GET", "/v1/models", (*own, ("Origin", _ELSEWHERE))),
        Request("OPTIONS", CHAT, preflight),
        Request("GET", "/v1/models", (*own, ("Origin", "null"))),
    ):
        reply = target.send(request)
        allowed = reply.header("access-control-allow-origin")
        if allowed:
            with_keys = reply.header("access-control-allow-credentials").lower() == "true"
            where = f"{request.method} {request.target}"
            yield Finding(
                f"cors:{request.method.lower()}", "server/cors", "error" if with_keys else "warning",
                f"{where}: a page of another site may read the answer", "no access-control-allow-origin",
                f"access-control-allow-origin: {allowed}", route=where,
            )  # fmt: skip


def other_hosts(target: Target) -> Iterator[Finding]:
    """Whether a host that the sender made up comes back: in a redirect or link it would send others there."""
    made_up = "somewhere-else.example"
    for request in (
        Request("GET", "/v1/models", host=made_up),
        Request("GET", "/v1/models/", (("X-Forwarded-Host", made_up), ("X-Forwarded-Proto", "https"))),
        Request("GET", "/admin", (("X-Forwarded-Host", made_up),), host=made_up),
    ):
        reply = target.send(request)
        if made_up in reply.text:
            where = f"{request.method} {request.target}"
            yield Finding("host:reflected", "server/host", "error", f"{where}: the made-up host {made_up} comes back",
                          "the sender's host is not used", "it is in the answer", route=where)  # fmt: skip


def in_answers(target: Target) -> Iterator[Finding]:
    """Everything that was answered so far: keys, paths, traces, foreign headers, HTML, and crashes."""
    seen: set[str] = set()
    for route, request, reply in target.answers:
        for kind, found in _given_away(target, request, reply.text):
            if kind not in seen:
                seen.add(kind)
                yield Finding(f"leak:{kind}", "server/leak", "error", f"{route}: the answer holds {kind}",
                              f"not {kind}", found, route=route)  # fmt: skip
        if reply.header("x-injected"):
            yield Finding("leak:header", "server/leak", "error", f"{route}: a header was injected through the body",
                          "no header of the sender's", "x-injected", route=route)  # fmt: skip
        html = "html" in reply.header("content-type")
        if html and "<script>alert" in reply.body.decode(errors="replace"):
            yield Finding("leak:html", "server/leak", "error", f"{route}: markup of the request comes back as HTML",
                          "JSON, or escaped", "text/html", route=route)  # fmt: skip
        if reply.status >= 500 and reply.status not in (501, 505):
            yield Finding(f"crash:{route}"[:120], "server/crash", "error", f"{route}: the server answered {reply.told}",
                          "an error of the client's", reply.told, route=route)  # fmt: skip
        software = ", ".join(value for name, value in reply.headers if name == "server")
        if _VERSIONED.search(software) and "version" not in seen:
            seen.add("version")
            yield Finding("leak:version", "server/leak", "warning", f"{route}: the header 'server' tells the version",
                          "no version", f"server: {software}", route=route)  # fmt: skip


def _given_away(target: Target, request: Request, text: str) -> Iterator[tuple[str, str]]:
    sent = request.encoded("").decode(errors="replace")
    sent += unquote(sent)
    if any(secret in text for secret in target.keys.known):
        yield "a key", "a secret that was sent or is valid"
    if found := _TRACE.search(text):
        yield "a stack trace", found.group()[:120]
    # What the sender wrote may come back in an error; what the server adds may not.
    paths = [found.group() for found in _PATH.finditer(text) if found.group() not in sent]
    paths += [path for path in target.private if path in text]
    if paths:
        yield "a path of the server", paths[0][:120]
