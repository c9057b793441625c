"""``POST /v1/feedback``: what became of an answer, tied to the answer's id.

An answer's id is ``chatcmpl-<request id>-<seal>``. The seal is an HMAC over the request's id and the key that was
answered, because callers may choose request ids: a seal cannot be made up, and one key's answers cannot be rated by
another. It also holds where memory does not: an answer from before a restart, or one that was pushed out of the book,
is still known to be ours (``matched`` is false then, and the log of requests tells the rest).
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Field, StringConstraints

from harness.errors import SignoffError
from harness.serve.gateway.api_errors import ApiError, invalid
from harness.serve.gateway.body import read_body
from harness.serve.gateway.fields import Closed, parse
from harness.serve.gateway.turn import Principal, Turn
from harness.spec.serving import Limits
from harness.store import write_atomic
from harness.store.files import locked

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Sink = Callable[[str, Mapping[str, Any]], None]
Prefix = Literal["chatcmpl", "cmpl"]

MAX_BODY_BYTES = 512 * 1024
CAPACITY = 50_000
_SECRET_BYTES = 32
_OUTCOMES = ("thumb", "resolved", "rating", "edited_text", "comment")
_ID = re.compile(r"(?P<prefix>chatcmpl|cmpl)-(?P<request>[A-Za-z0-9_.:-]{1,128})-(?P<seal>[0-9a-f]{16})")
_log = logging.getLogger("signoff.feedback")


class Feedback(Closed):
    """The body: the id of an answer and at least one outcome. ``edited_text`` is what a person made of the answer."""

    response_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    thumb: Literal["up", "down"] | None = None
    resolved: bool | None = None
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    edited_text: Annotated[str, StringConstraints(max_length=65_536)] | None = None
    comment: Annotated[str, StringConstraints(min_length=1, max_length=8_192)] | None = None
    user: Annotated[str, StringConstraints(max_length=512)] | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was made of a feedback: whether the book still knew the answer, and whether it had one already."""

    response_id: str
    matched: bool
    replaced: bool


@dataclass(slots=True)
class _Answer:
    app: str
    model: str
    arm: str
    digest: str
    received: float
    revisions: int = 0


class FeedbackBook:
    """Remembers the latest answers, and hands every feedback on to a log; an ``Observer`` of the gateway.

    Belongs to one event loop. The rows that ``sink`` is given hold texts as they came: whoever keeps them anonymises
    them first. Feedback given again replaces what was said before: every row is logged, the one with the latest
    ``received`` counts. With the same ``secret`` another process, or this one after a restart, knows its answers.
    """

    def __init__(
        self,
        sink: Sink,
        secret: bytes | None = None,
        *,
        capacity: int = CAPACITY,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sink, self._now, self._capacity = sink, now, capacity
        self._secret = secret or secrets.token_bytes(_SECRET_BYTES)
        self._answers: OrderedDict[str, _Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def response_id(self, request_id: str, key_id: str, prefix: Prefix = "chatcmpl") -> str:
        """The id of the answer to a request of this key."""
        return f"{prefix}-{request_id}-{self._seal(prefix, request_id, key_id)}"

    def observe(self, turn: Turn) -> None:
        """Remember an answer that somebody was shown, in part or as a whole."""
        if turn.shadow or not turn.response_id or not (turn.outcome == "ok" or turn.output):
            return
        # A request id that is used twice names two answers; feedback means the later one.
        self._answers.pop(turn.response_id, None)
        self._answers[turn.response_id] = _Answer(turn.app, turn.model, turn.arm, turn.digest, turn.received)
        while len(self._answers) > self._capacity:
            self._answers.popitem(last=False)

    def take(self, feedback: Feedback, principal: Principal) -> Receipt:
        """Log one feedback. ApiError 404 unless this key was given that answer, 503 when it cannot be logged."""
        request_id = self._request_of(feedback.response_id, principal.key_id)
        if request_id is None:
            message = "no answer with this response_id was given to your key"
            raise ApiError(404, message, param="response_id", code="response_not_found")
        answer = self._answers.get(feedback.response_id)
        row = {
            **feedback.model_dump(),
            "request_id": request_id,
            "key_id": principal.key_id,
            "received": self._now(),
            "matched": answer is not None,
            "revision": None if answer is None else answer.revisions + 1,
            "app": answer.app if answer else None,
            "model": answer.model if answer else None,
            "arm": answer.arm if answer else None,
            "digest": answer.digest if answer else None,
            "answer_received": answer.received if answer else None,
        }
        self._write(row)
        if answer is None:
            return Receipt(feedback.response_id, matched=False, replaced=False)
        answer.revisions += 1
        self._answers.move_to_end(feedback.response_id)
        return Receipt(feedback.response_id, matched=True, replaced=answer.revisions > 1)

    def _write(self, row: Mapping[str, Any]) -> None:
        try:
            self._sink("feedback", row)
        except (SignoffError, OSError) as error:
            _log.error("a feedback could not be logged: %s", error)
            message = "the feedback could not be recorded; send it again later"
            raise ApiError(503, message, code="not_recorded", headers={"retry-after": "30"}) from error

    def _request_of(self, response_id: str, key_id: str) -> str | None:
        found = _ID.fullmatch(response_id)
        if found is None:
            return None
        prefix, request_id, seal = found["prefix"], found["request"], found["seal"]
        return request_id if hmac.compare_digest(self._seal(prefix, request_id, key_id), seal) else None

    def _seal(self, prefix: str, request_id: str, key_id: str) -> str:
        # Neither a key's nor a request's id may hold the character between them.
        text = "\0".join((key_id, prefix, request_id))
        return hmac.digest(self._secret, text.encode(), "sha256")[:8].hex()


def parse_feedback(body: bytes) -> Feedback:
    """The feedback in ``body``; raises ApiError (400) that names the first field at fault."""
    feedback = parse(body, Feedback)
    if all(getattr(feedback, name) is None for name in _OUTCOMES):
        raise invalid(f"the feedback says nothing; send at least one of {', '.join(_OUTCOMES)}")
    return feedback


def feedback_route(
    book: FeedbackBook, limits: Limits | None = None
) -> Callable[[Request, Principal], Awaitable[Response]]:
    """The endpoint of ``POST /v1/feedback``: 202 once the feedback is logged. Raises ApiError for the rest."""
    limits = limits or Limits()
    limits = limits.model_copy(update={"body_bytes": min(limits.body_bytes, MAX_BODY_BYTES)})

    async def feedback(request: Request, principal: Principal) -> Response:
        from starlette.responses import Response

        receipt = book.take(parse_feedback(await read_body(request, limits)), principal)
        return Response(orjson.dumps({"object": "feedback", **_plain(receipt)}), 202, media_type="application/json")

    return feedback


def _plain(receipt: Receipt) -> dict[str, Any]:
    return {"response_id": receipt.response_id, "matched": receipt.matched, "replaced": receipt.replaced}


def feedback_secret(path: Path) -> bytes:
    """The secret of the seals in ``path``, made when absent; servers that share it know each other's answers.

    A file that cannot be read or written is a warning: the server then knows its own answers only, until it ends.
    """
    try:
        with locked(path.with_name(f"{path.name}.lock")):
            if path.exists():
                secret = path.read_bytes()
                if len(secret) == _SECRET_BYTES:
                    return secret
                _log.warning("%s is damaged and was made anew: earlier answers cannot be rated any more", path)
            secret = secrets.token_bytes(_SECRET_BYTES)
            write_atomic(path, secret, mode=0o600)
            return secret
    except (SignoffError, OSError) as error:
        _log.warning("answers can be rated until this server ends, and not after: %s", error)
        return secrets.token_bytes(_SECRET_BYTES)
