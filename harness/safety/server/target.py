"""The server that is probed, with the keys that are known for it, and everything that it has answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.safety.findings import Finding
from harness.safety.server.wire import Header, Reply, Request, send


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of one server; an empty one is not known, and what needs it is not tried.

    ``user`` may call ``model``; ``limited`` may call nothing that is served; ``expired`` and ``revoked`` were valid.
    """

    user: str = ""
    operator: str = ""
    limited: str = ""
    expired: str = ""
    revoked: str = ""

    @property
    def known(self) -> tuple[str, ...]:
        """All secrets that are known."""
        return tuple(
            secret for secret in (self.user, self.operator, self.limited, self.expired, self.revoked) if secret
        )


@dataclass
class Target:
    """``base`` is scheme, host and port; ``model`` what a user's key may call, empty while unknown.

    ``private`` are texts that no answer may hold, besides the keys: paths of the server's machine.
    """

    base: str
    keys: Keys = Keys()
    model: str = ""
    private: tuple[str, ...] = ()
    checks: int = 0
    untried: list[str] = field(default_factory=list)
    answers: list[tuple[str, Request, Reply]] = field(default_factory=list)

    def ask(self, method: str, target: str, headers: Sequence[Header] = (), **more: Any) -> Reply:
        """One request and its reply, which is kept for the probes that look at all of them."""
        return self.send(Request(method, target, headers, **more))

    def send(self, request: Request) -> Reply:
        """As ``ask``, for a request that is made already."""
        self.checks += 1
        reply = send(self.base, request)
        self.answers.append((f"{request.method} {request.target[:120]}", request, reply))
        return reply

    def chat(self, headers: Sequence[Header] = (), **fields: Any) -> Reply:
        """A chat request whose body has these fields."""
        # Not orjson: it refuses numbers that are among what is sent.
        body = {"model": self.model or "unknown", "messages": [{"role": "user", "content": "Hello."}], **fields}
        return self.ask("POST", CHAT, (*headers, JSON), body=json.dumps(body).encode())


CHAT = "/v1/chat/completions"
JSON: Header = ("Content-Type", "application/json")
REFUSED = frozenset({401, 403, 404, 405})
"""What somebody without a right may be told: that it is not theirs, or that it is not there."""


def bearer(secret: str) -> tuple[Header, ...]:
    """The header that carries a key."""
    return (("Authorization", f"Bearer {secret}"),)


def expect(
    rule: str, route: str, reply: Reply, allowed: frozenset[int] | range, what: str, wanted: str
) -> Iterator[Finding]:
    """A finding when the reply's status is none of ``allowed``; ``what`` says what was sent."""
    if reply.status in allowed:
        return
    yield Finding(
        id=f"{rule.removeprefix('server/')}:{what}"[:120],
        rule=rule,
        level="error" if 200 <= reply.status < 300 or reply.status < 0 or reply.status >= 500 else "warning",
        message=f"{route}: {what}: expected {wanted}, got {reply.told}",
        expected=wanted,
        found=reply.told,
        route=route,
    )
