"""What an OpenAI-compatible endpoint answered, as a generation: complete, or an error; nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from harness.serve.protocol import (
    ChoiceOutput,
    Delta,
    FinishReason,
    Generation,
    GenerationRequest,
    JsonOutput,
    TokenLogprob,
)
from harness.serve.remote.address import Endpoint
from harness.serve.remote.transport import fault
from harness.serve.remote.wire import CHOICE

_FINISHED: Mapping[Any, FinishReason] = {"stop": "stop", "length": "length"}
_SHOWN = 200
Shape = Literal["chat", "completions"]


def read_answer(content: bytes, request: GenerationRequest, endpoint: Endpoint, latency_ms: float = 0.0) -> Generation:
    """The generation in a whole answer; EndpointError when anything of it is missing.

    ``latency_ms`` is what the caller measured; a gateway of this project says better.
    """
    try:
        body = orjson.loads(content)
        (choice,) = body["choices"]
        text = choice["text"] if request.prompt is not None else choice["message"]["content"]
        reader = AnswerReader(request, endpoint)
        reader.finish_reason = choice.get("finish_reason")
        reader.usage = body.get("usage")
        reader.logprobs = _logprobs(choice.get("logprobs"), request)
        timing = body.get("signoff") or {}
        reader.text.append(text or "")
        return reader.generation(timing.get("latency_ms", latency_ms), choice.get("choice_scores"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as problem:
        kind = "completion" if request.prompt is not None else "chat completion"
        raise fault(endpoint, f"not a {kind}: {content[:_SHOWN].decode(errors='replace')}") from problem


@dataclass
class AnswerReader:
    """Collects one answer, piece by piece or at once."""

    request: GenerationRequest
    endpoint: Endpoint
    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: Any = None
    usage: Any = None

    def delta(self, chunk: Any) -> Delta | None:
        """The news in one event of a stream, None if there is none to pass on; EndpointError for what is no chunk."""
        try:
            self.usage = chunk.get("usage") or self.usage
            choices = chunk["choices"]
            if not choices:
                return None
            (choice,) = choices
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            raw = choice.get("text") if self.request.prompt is not None else (choice.get("delta") or {}).get("content")
            text, logprobs = raw or "", _logprobs(choice.get("logprobs"), self.request)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            shown = orjson.dumps(chunk)[:_SHOWN].decode(errors="replace")
            raise fault(self.endpoint, f"not a chunk of an answer: {shown}") from problem
        self.text.append(text)
        self.logprobs += logprobs
        return Delta(text, tuple(logprobs)) if text or logprobs else None

    def generation(self, latency_ms: float, scores: Mapping[str, float] | None = None) -> Generation:
        """The whole answer; EndpointError when it has no end, counts no tokens, or is not of the form asked for."""
        finish = _FINISHED.get(self.finish_reason)
        if finish is None:
            # Whatever else ended it (a filter, a tool call, nothing at all), the text is not the model's answer.
            raise fault(self.endpoint, f"the answer ended with finish_reason {self.finish_reason!r}")
        if not isinstance(self.usage, dict):
            raise fault(self.endpoint, "the answer counts no tokens (no 'usage')")
        if self.request.logprobs is not None and not self.logprobs and "".join(self.text):
            raise fault(self.endpoint, "logprobs were asked for and not sent")
        prompt, completion = (_count(self.usage, name) for name in ("prompt_tokens", "completion_tokens"))
        if prompt is None or completion is None:
            raise fault(self.endpoint, f"'usage' does not count the tokens: {self.usage!r:.100}")
        details = self.usage.get("prompt_tokens_details")
        return Generation(
            text=self._checked("".join(self.text), finish),
            finish_reason=finish,
            prompt_tokens=prompt,
            completion_tokens=completion,
            scores=scores,
            latency_ms=latency_ms,
            cached_prompt_tokens=(_count(details, "cached_tokens") or 0) if isinstance(details, dict) else 0,
            logprobs=tuple(self.logprobs) if self.request.logprobs is not None else None,
        )

    def _chosen(self, text: str, options: Sequence[str]) -> str:
        if text in options:
            return text
        # A server that does not rank options wrote the one that it chose into JSON.
        try:
            chosen = orjson.loads(text)
        except ValueError:
            chosen = None
        option = chosen.get(CHOICE) if isinstance(chosen, dict) else chosen
        if option not in options:
            raise fault(self.endpoint, f"the answer is none of the {len(options)} options: {text[:_SHOWN]!r}")
        return str(option)

    def _checked(self, text: str, finish: FinishReason) -> str:
        wanted = self.request.output
        if isinstance(wanted, ChoiceOutput):
            return self._chosen(text, wanted.options)
        if isinstance(wanted, JsonOutput) and finish == "stop":
            try:
                orjson.loads(text)
            except ValueError:
                raise fault(self.endpoint, f"JSON was asked for; the answer is {text[:_SHOWN]!r}") from None
        stopped_by = next((stop for stop in self.request.decoding.stop if stop in text), None)
        if stopped_by is not None:
            raise fault(self.endpoint, f"the answer goes past the stop string {stopped_by!r}")
        return text


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _logprobs(block: Any, request: GenerationRequest) -> list[TokenLogprob]:
    if block is None or request.logprobs is None:
        return []
    if "content" in block:
        return [_token(entry, request.logprobs) for entry in block["content"] or ()]
    # The older form of /completions: parallel lists, and no bytes.
    tops = block.get("top_logprobs") or [{}] * len(block["tokens"])
    return [
        TokenLogprob(text, text.encode(), _finite(value), _best(top, request.logprobs))
        for text, value, top in zip(block["tokens"], block["token_logprobs"], tops, strict=True)
    ]


def _token(entry: Mapping[str, Any], alternatives: int) -> TokenLogprob:
    top = [(each["token"], _bytes(each), _finite(each["logprob"])) for each in entry.get("top_logprobs") or ()]
    top.sort(key=lambda each: -each[2])
    return TokenLogprob(entry["token"], _bytes(entry), _finite(entry["logprob"]), tuple(top[:alternatives]))


def _best(top: Mapping[str, float] | None, alternatives: int) -> tuple[tuple[str, bytes, float], ...]:
    ranked = sorted((top or {}).items(), key=lambda each: -each[1])
    return tuple((text, text.encode(), _finite(value)) for text, value in ranked[:alternatives])


def _bytes(entry: Mapping[str, Any]) -> bytes:
    data = entry.get("bytes")
    return bytes(data) if isinstance(data, list) else str(entry["token"]).encode()


def _finite(value: Any) -> float:
    number = float(value)
    if math.isnan(number):
        raise ValueError("a log-probability is not a number")
    return number
