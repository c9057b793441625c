"""What is refused: methods, sizes, names and bodies that nobody means well with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from harness.safety.findings import Finding
from harness.safety.server.target import CHAT, JSON, Target, bearer, expect
from harness.safety.server.wire import Header, Request

_CLIENTS_FAULT = range(400, 500)
# Closing the connection is as good an answer as any to what is no request.
_OR_CLOSED = frozenset({0, *_CLIENTS_FAULT, 501, 505})
_TRAVERSALS = (
    "../../../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "....//....//etc/passwd", "..\\..\\windows",
    "file:///etc/passwd", "http://127.0.0.1:9/model", "hf:somebody/model", "\u0000", "{model}\u0000",
    "{model}/../{model}", "{model} ", "{model}\u200b", "{model}\r\nX-Injected: 1", "<script>alert(1)</script>",
    "{{7*7}}", "${{jndi:ldap://x}}", "@baseline", "*", "a" * 20_000,
)  # fmt: skip
_NUMBERS: tuple[tuple[str, Any], ...] = (
    ("n", 10**6), ("n", -1), ("n", 0), ("max_tokens", 10**9), ("max_tokens", -5), ("temperature", -1),
    ("temperature", 1e308), ("temperature", "hot"), ("top_p", 0), ("top_p", 7), ("seed", 2**80),
    ("stop", ["x"] * 10_000), ("logit_bias", {str(token): 1 for token in range(20_000)}), ("top_logprobs", 10**6),
    ("messages", []), ("messages", "hello"), ("messages", [{"role": "root", "content": "x"}]), ("best_of", 10**6),
    ("model", None), ("model", ["a"]), ("stream", "yes"), ("prompt_logprobs", 10**6),
)  # fmt: skip


def methods(target: Target) -> Iterator[Finding]:
    """Methods that a route does not have, and headers that ask for another one."""
    for method, route in (
        ("GET", CHAT), ("DELETE", CHAT), ("PUT", CHAT), ("TRACE", "/v1/models"), ("DELETE", "/v1/models/any"),
        ("POST", "/v1/models"), ("POST", "/admin/status"), ("PATCH", "/metrics"), ("CONNECT", "127.0.0.1:1"),
        ("BREW", "/v1/models"),
    ):  # fmt: skip
        reply = target.ask(method, route, _own(target))
        yield from expect("server/method", f"{method} {route}", reply, _OR_CLOSED, "a method it does not have", "405")
    override = (*_own(target), ("X-HTTP-Method-Override", "POST"), JSON)
    reply = target.ask("GET", CHAT, override)
    yield from expect("server/method", f"GET {CHAT}", reply, _OR_CLOSED, "with X-HTTP-Method-Override", "405")


def names(target: Target) -> Iterator[Finding]:
    """Names of models that are paths, addresses or half of one: none may be found, and none may be what is served."""
    if not target.keys.user:
        target.untried.append("names of models: no user's key is known")
        return
    for pattern in _TRAVERSALS:
        name = pattern.replace("{model}", target.model or "model")
        shown = repr(name if len(name) < 40 else f"{name[:30]}… ({len(name)} characters)")
        reply = target.chat(bearer(target.keys.user), model=name)
        yield from expect("server/model-name", f"POST {CHAT}", reply, _CLIENTS_FAULT, f"model {shown}", "404")
        path = f"/v1/models/{quote(name, safe='')}"
        reply = target.ask("GET", path, bearer(target.keys.user))
        yield from expect("server/model-name", "GET /v1/models/…", reply, _OR_CLOSED, f"model {shown}", "404")


def numbers(target: Target) -> Iterator[Finding]:
    """Values that are out of range, or that would keep the server busy for days: refused before anything is done."""
    if not target.keys.user or not target.model:
        target.untried.append("values out of range: no user's key or no model is known")
        return
    for name, value in _NUMBERS:
        shown = str(value) if len(str(value)) < 30 else f"{type(value).__name__} of {len(value)}"
        reply = target.chat(bearer(target.keys.user), **{name: value})
        yield from expect("server/value", f"POST {CHAT}", reply, _CLIENTS_FAULT, f"{name} = {shown}", "400")


def bodies(target: Target) -> Iterator[Finding]:
    """Bodies that are no JSON, are deep, or say that they are larger than any."""
    nested = b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    for what, body in (
        ("no JSON", b"{"), ("an empty body", b""), ("a list", b"[]"), ("half a character", b'{"model": "\xff\xfe"}'),
        ("NaN", b'{"model": "m", "messages": [], "temperature": NaN}'), ("50,000 lists in each other", nested),
        ("a key twice", b'{"model": "a", "model": "b", "messages": []}'), ("a number of 5,000 digits", b"9" * 5_000),
    ):  # fmt: skip
        reply = target.ask("POST", CHAT, (*_own(target), JSON), body=body)
        yield from expect("server/body", f"POST {CHAT}", reply, _OR_CLOSED, what, "400")
    reply = target.ask("POST", CHAT, (*_own(target), JSON), claims=2**40)
    yield from expect("server/body", f"POST {CHAT}", reply, _OR_CLOSED, "a content-length of 1 TiB", "413")
    reply = target.ask("POST", CHAT, (*_own(target), JSON, ("Transfer-Encoding", "chunked"), ("Content-Length", "4")),
                       body=b"0\r\n\r\nGET /admin/status HTTP/1.1\r\n\r\n")  # fmt: skip
    yield from expect("server/smuggling", f"POST {CHAT}", reply, _OR_CLOSED, "two lengths of one body", "400")


def heads(target: Target) -> Iterator[Finding]:
    """Headers that are too many, too long or broken."""
    many: tuple[Header, ...] = tuple((f"X-Header-{number}", "x" * 50) for number in range(3_000))
    for what, request in (
        ("a header of 200 KB", Request("GET", "/v1/models", (("X-Long", "x" * 200_000),))),
        ("3,000 headers", Request("GET", "/v1/models", many)),
        ("a path of 200 KB", Request("GET", "/v1/models/" + "a" * 200_000)),
        ("a blank in a header's name", Request("GET", "/v1/models", (("Bad Name", "x"),))),
        ("a path that is none", Request("GET", "v1\x01models")),
    ):
        reply = target.send(request)
        yield from expect("server/head", request.target[:40], reply, _OR_CLOSED, what, "400 or 431")


def _own(target: Target) -> tuple[Header, ...]:
    return bearer(target.keys.user) if target.keys.user else ()
