"""Writing answers in OpenAI's shapes: one body, or the events of a stream."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from harness.serve.gateway.answers import Answered, Choice, Piece
from harness.serve.gateway.logprob_shapes import CompletionLogprobs, chat_logprobs
from harness.serve.gateway.served import Tokens

DONE = b"data: [DONE]\n\n"


class Envelope(ABC):
    """What all parts of one answer share. ``logprobs``: whether they were asked for; ``trace``: show an app's steps.

    ``usage``: count tokens at the end of a stream; ``continuous``: in every chunk, as far as they are counted by then.
    """

    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __init__(
        self,
        answer_id: str,
        model: str,
        *,
        logprobs: bool = False,
        trace: bool = False,
        usage: bool = False,
        continuous: bool = False,
    ) -> None:
        self._logprobs, self._trace, self._continuous = logprobs, trace, continuous
        self.counts_tokens = usage
        self._head = {"id": answer_id, "object": self.chunk_kind, "created": int(time.time()), "model": model}
        self._told: defaultdict[int, int] = defaultdict(int)
        self._so_far: dict[int, Tokens] = {}

    def whole(self, answer: Answered) -> bytes:
        """The body of an answer that was not streamed."""
        return orjson.dumps(
            {
                **self._head,
                "object": self.kind,
                "system_fingerprint": answer.digest,
                "choices": [
                    {**self._whole_choice(choice), "finish_reason": choice.finish_reason, **_scores(choice)}
                    for choice in answer.choices
                ],
                "usage": usage_of(answer.tokens),
                "signoff": self._signoff(answer),
            }
        )

    @abstractmethod
    def opening(self, index: int) -> bytes:
        """The first event of a choice."""

    def piece(self, piece: Piece) -> bytes:
        """New text."""
        self._told[piece.index] += len(piece.logprobs)
        if piece.tokens is not None:
            self._so_far[piece.index] = piece.tokens
        return self._event(self._part(piece.index, piece.text, piece.logprobs))

    def closing(self, choice: Choice, answer: Answered | None) -> bytes:
        """The end of a choice; with the last one comes what is to be said of the whole answer."""
        rest = (choice.logprobs or ())[self._told[choice.index] :]
        # Tokens that no text came from: the end of the turn, or what a stop string cut off.
        before = self._event(self._part(choice.index, "", rest)) if rest else b""
        last = {**self._end(choice.index), "finish_reason": choice.finish_reason, **_scores(choice)}
        if answer is None:
            return before + self._event(last)
        return before + self._event(last, {"system_fingerprint": answer.digest, "signoff": self._signoff(answer)})

    def usage(self, tokens: Tokens) -> bytes:
        """The event that counts tokens; its choices are empty."""
        return sse({**self._head, "choices": [], "usage": usage_of(tokens)})

    @abstractmethod
    def _whole_choice(self, choice: Choice) -> dict[str, Any]: ...

    @abstractmethod
    def _part(self, index: int, text: str, logprobs: Any) -> dict[str, Any]: ...

    @abstractmethod
    def _end(self, index: int) -> dict[str, Any]: ...

    def _event(self, choice: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
        return sse({**self._head, "choices": [choice], **self._counts(), **(more or {})})

    def _counts(self) -> dict[str, Any]:
        if self._continuous and self._so_far:
            read = max(tokens.prompt for tokens in self._so_far.values())
            return {"usage": usage_of(Tokens(read, sum(tokens.completion for tokens in self._so_far.values())))}
        # With include_usage every chunk has the field, and only the last one a value.
        return {"usage": None} if self.counts_tokens else {}

    def _signoff(self, answer: Answered) -> dict[str, Any]:
        times = {"latency_ms": answer.latency_ms, "queue_ms": answer.queue_ms}
        shown = {"digest": answer.digest, **{name: value for name, value in times.items() if value is not None}}
        return {**shown, "steps": dict(answer.steps)} if self._trace else shown


class ChatEnvelope(Envelope):
    """The shapes of ``/v1/chat/completions``."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def opening(self, index: int) -> bytes:
        """The role."""
        return self._event(self._delta(index, {"role": "assistant", "content": ""}))

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text}
        shown = chat_logprobs(choice.logprobs or ()) if self._logprobs else None
        return {"index": choice.index, "message": message, "logprobs": shown}

    def _part(self, index: int, text: str, logprobs: Any) -> dict[str, Any]:
        return self._delta(index, {"content": text}, chat_logprobs(logprobs) if self._logprobs else None)

    def _end(self, index: int) -> dict[str, Any]:
        return self._delta(index, {})

    def _delta(self, index: int, delta: dict[str, str], logprobs: Any = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


class CompletionEnvelope(Envelope):
    """The shapes of ``/v1/completions``; chunks are of the same kind as whole answers."""

    kind, chunk_kind = "text_completion", "text_completion"

    def __init__(self, answer_id: str, model: str, **shown: bool) -> None:
        super().__init__(answer_id, model, **shown)
        self._offsets: defaultdict[int, CompletionLogprobs] = defaultdict(CompletionLogprobs)

    def opening(self, index: int) -> bytes:
        """Nothing: there is no role."""
        return b""

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        return self._part(choice.index, choice.text, choice.logprobs or ())

    def _part(self, index: int, text: str, logprobs: Any) -> dict[str, Any]:
        shown = self._offsets[index].shape(logprobs) if self._logprobs else None
        return {"index": index, "text": text, "logprobs": shown, "finish_reason": None}

    def _end(self, index: int) -> dict[str, Any]:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": None}


def sse(data: Mapping[str, Any]) -> bytes:
    """``data`` as one server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def usage_of(tokens: Tokens) -> dict[str, Any]:
    """The object ``usage``."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached_prompt},
    }


def _scores(choice: Choice) -> dict[str, Any]:
    return {} if choice.scores is None else {"choice_scores": dict(choice.scores)}
