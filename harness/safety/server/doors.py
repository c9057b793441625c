"""Who is let in: every route without a key, with keys that are none, and with a key of another role."""

from __future__ import annotations

from collections.abc import Iterator

from harness.safety.findings import Finding
from harness.safety.server.target import CHAT, JSON, REFUSED, Target, bearer, expect
from harness.safety.server.wire import Header

_BODY = b'{"model": "x", "messages": [{"role": "user", "content": "Hello."}]}'
GUARDED: tuple[tuple[str, str], ...] = (
    ("POST", CHAT),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/feedback"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/any"),
    ("GET", "/metrics"),
    ("GET", "/admin/status"),
)
OPERATORS = ("/metrics", "/admin/status")
# What other servers leave open, or frameworks add: here there should be nothing at all.
ELSEWHERE = (
    "/docs", "/redoc", "/openapi.json", "/invocations", "/pooling", "/classify", "/score", "/rerank", "/tokenize",
    "/detokenize", "/pause", "/resume", "/sleep", "/wake_up", "/update_weights", "/collective_rpc", "/version",
    "/load", "/server_info", "/get_model_info", "/flush_cache", "/v1/load_lora_adapter", "/v1/unload_lora_adapter",
    "/v1/responses", "/props", "/slots", "/completion", "/infill", "/api/tags", "/api/generate", "/api/pull",
    "/stats", "/swarm", "/debug", "/debug/pprof/", "/admin", "/admin/", "/admin/keys", "/config", "/console",
    "/.env", "/.git/config", "/traces", "/logs",
)  # fmt: skip


def is_open(target: Target) -> Iterator[Finding]:
    """One finding when the server asks nobody for a key: the other probes of keys would only repeat it."""
    reply = target.ask("GET", "/v1/models")
    yield from expect("server/no-key", "GET /v1/models", reply, REFUSED, "without a key", "401")


def strangers(target: Target) -> Iterator[Finding]:
    """Every route that needs a key, with what is none."""
    for what, headers in _no_keys(target):
        for method, route in GUARDED:
            body = {"body": _BODY} if method == "POST" else {}
            reply = target.ask(method, route, (*headers, JSON), **body)
            yield from expect("server/no-key", f"{method} {route}", reply, REFUSED, what, "401")


def _no_keys(target: Target) -> Iterator[tuple[str, tuple[Header, ...]]]:
    yield "without a key", ()
    yield "with a blank key", bearer("")
    yield "with the word Bearer only", (("Authorization", "Bearer"),)
    yield "with a wrong key", bearer("so-this-is-no-key-of-anybody")
    yield "with a star for a key", bearer("*")
    yield "with another scheme", (("Authorization", "Basic YWRtaW46YWRtaW4="),)
    yield "with a key in the query of another header", (("X-Api-Key", target.keys.user or "x"),)
    if target.keys.user:
        yield "with a key that goes on", bearer(target.keys.user + "x")
        yield "with a key that was cut", bearer(target.keys.user[:-1])
        yield "with a wrong key and a good one behind it", (*bearer("so-wrong"), *bearer(target.keys.user))
    for name in ("expired", "revoked"):
        secret = getattr(target.keys, name)
        if secret:
            yield f"with a key that is {name}", bearer(secret)


def unknown_routes(target: Target) -> Iterator[Finding]:
    """Routes that other servers have: nothing may answer there, with a key or without."""
    refused = REFUSED | {400}
    for route in ELSEWHERE:
        for method in ("GET", "POST"):
            reply = target.ask(method, route, (JSON,), **({"body": b"{}"} if method == "POST" else {}))
            yield from expect("server/open-route", f"{method} {route}", reply, refused, "without a key", "404")


def roles(target: Target) -> Iterator[Finding]:
    """A user's key at the operators' routes, and an operator's key there."""
    if not target.keys.user:
        target.untried.append("roles: no user's key is known")
        return
    for route in OPERATORS:
        reply = target.ask("GET", route, bearer(target.keys.user))
        yield from expect("server/role", f"GET {route}", reply, frozenset({403, 404}), "with a user's key", "403")


def others_models(target: Target) -> Iterator[Finding]:
    """A key may not call, list or tell apart what it was not given."""
    limited = target.keys.limited
    if not limited or not target.model:
        target.untried.append("models of others: no key that is limited to other models is known")
        return
    there, absent = target.chat(bearer(limited)), target.chat(bearer(limited), model="no-such-model")
    yield from expect("server/other-model", f"POST {CHAT}", there, frozenset({403, 404}), "with another's key", "404")
    told = there.body.replace(target.model.encode(), b"") == absent.body.replace(b"no-such-model", b"")
    if (there.status, told) != (absent.status, True):
        yield _differs(there.told, absent.told)
    listed = target.ask("GET", "/v1/models", bearer(limited))
    if target.model.encode() in listed.body:
        yield Finding("other-model:listed", "server/other-model", "error", "GET /v1/models lists a model that the key "
                      "may not call", "only the key's own models", target.model, route="GET /v1/models")  # fmt: skip


def _differs(there: str, absent: str) -> Finding:
    return Finding(
        "other-model:told-apart", "server/other-model", "warning",
        f"POST {CHAT}: a model that the key may not call is answered otherwise than one that does not exist",
        "the same answer", f"{there} against {absent}", route=f"POST {CHAT}",
    )  # fmt: skip
