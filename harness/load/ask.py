"""One request, sent and read to its end; no retries, because a retry would hide what a user sees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from harness.load.answer import StreamedAnswer
from harness.load.sample import Failure, Sample
from harness.spec.suites import Case

if TYPE_CHECKING:
    import urllib3

_HEADERS = {"content-type": "application/json", "accept": "text/event-stream", "x-signoff-cache": "bypass"}
_CHUNK = 1 << 16
_SHOWN = 300
_END_S = 0.1
"""How long the end of a body may take after ``[DONE]`` before the connection is given up."""


class OutOfTimeError(Exception):
    """The caller's clock ran out. No TimeoutError, which the HTTP library would take for one of its own."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Who is asked: the app's name at the server, and the digest that must answer (empty: any)."""

    model: str
    digest: str = ""


def body_of(case: Case, model: str, seed: int) -> bytes:
    """The chat request that asks ``case``; the steps are asked for because they say whether a cache answered."""
    messages = [turn.model_dump() for turn in case.messages]
    return orjson.dumps(
        {
            "model": model,
            "messages": messages or [{"role": "user", "content": "-"}],
            "inputs": case.inputs,
            "seed": seed,
            "stream": True,
            "stream_options": {"include_usage": True},
            "signoff": {"trace": True},
        }
    )


def headers_of(key: str | None) -> Mapping[str, str]:
    """The headers of every request; ``key`` is sent as a bearer token."""
    return {**_HEADERS, "authorization": f"Bearer {key}"} if key else _HEADERS


@dataclass(frozen=True, slots=True)
class Asker:
    """Sends requests to ``url`` (up to ``/v1``) through a pool of connections."""

    pool: urllib3.PoolManager
    url: str
    headers: Mapping[str, str]
    timeout_s: float

    def ask(self, number: int, body: bytes, arm: Arm, intended: float) -> Sample:
        """The sample of one request. A failure is a sample too, as is an OutOfTimeError raised into it from outside."""
        sent, answer = time.monotonic(), StreamedAnswer()
        status: int | None = None
        failure: Failure = ""
        reason, foreign = "", ""
        try:
            response = self._post(body)
            try:
                status = response.status
                if status == HTTPStatus.OK:
                    foreign = _foreign(response.headers, arm)
                    failure, reason = self._read(response, answer)
                    foreign = foreign or _kept(answer.steps)
                else:
                    failure, reason = "status", f"HTTP {status}: {_start(response)}"
            finally:
                if answer.ended is None or failure or not _drained(response):
                    response.close()
        except OutOfTimeError:
            if answer.ended is None:
                failure, reason = "timeout", f"no whole answer within {self.timeout_s:g} s"
        except Exception as error:
            if not _of_transport(error):
                raise
            failure, reason = "transport", f"{type(error).__name__}: {error}"[:_SHOWN]
        return Sample(
            number=number,
            intended=intended,
            sent=sent,
            first=answer.first,
            ended=answer.ended,
            pieces=answer.pieces,
            status=status,
            failure=failure,
            reason=reason,
            foreign=foreign,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            tokens=answer.tokens,
            cached_tokens=answer.cached_tokens,
            received=answer.received,
        )

    def _post(self, body: bytes) -> urllib3.BaseHTTPResponse:
        return self.pool.request(
            "POST",
            f"{self.url}/chat/completions",
            body=body,
            headers=self.headers,
            preload_content=False,
            retries=False,
            redirect=False,
        )

    def _read(self, response: urllib3.BaseHTTPResponse, answer: StreamedAnswer) -> tuple[Failure, str]:
        # ``read`` and ``stream`` wait for whole blocks where the body is not chunked; ``read1`` takes what is there.
        while data := response.read1(_CHUNK, decode_content=True):
            if answer.feed(data, time.monotonic()):
                break
        if answer.error:
            return "stream", answer.error[:_SHOWN]
        if answer.ended is None:
            return "stream", "the stream ended before [DONE]"
        if answer.first is None:
            return "stream", "the answer is empty"
        return "", ""


def _drained(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the body ended with the answer, so that the connection is fit for the next request."""
    sock = getattr(response.connection, "sock", None)
    if sock is None:
        return True
    sock.settimeout(_END_S)
    try:
        return not response.read1(_CHUNK)
    except Exception as error:
        if not _of_transport(error):
            raise
        return False
    finally:
        sock.settimeout(None)


def _foreign(headers: Mapping[str, str], arm: Arm) -> str:
    state, served = headers.get("x-signoff-cache", ""), headers.get("x-signoff-digest", "")
    if state == "hit":
        return f"{arm.model} was asked to bypass its cache of answers and answered from it"
    if arm.digest and served != arm.digest:
        says = f"digest {served[:12]}" if served else "no digest (header x-signoff-digest)"
        return f"{arm.model} is served with {says}, under review is {arm.digest[:12]}"
    return ""


def _kept(steps: Mapping[str, Any]) -> str:
    kept = [name for name, step in steps.items() if _from_cache(step)]
    return f"step {kept[0]} was answered from a cache of generations" if kept else ""


def _from_cache(step: Mapping[str, Any]) -> bool:
    if step.get("status") != "ok" or not step.get("cached"):
        return False
    # Functions, and a choice with a single option, ask nobody: they count no tokens.
    return step.get("kind") == "http" or (step.get("tokens_in") or 0) > 0


def _start(response: urllib3.BaseHTTPResponse) -> str:
    content = response.read(4 * _SHOWN)
    try:
        return str(orjson.loads(content)["error"]["message"])[:_SHOWN]
    except (ValueError, LookupError, TypeError):
        return content.decode(errors="replace")[:_SHOWN]


def _of_transport(error: Exception) -> bool:
    import urllib3

    return isinstance(error, urllib3.exceptions.HTTPError | OSError)
