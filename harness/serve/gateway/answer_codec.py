"""Answers and the requests for them as plain data, for the cache of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson

from harness.serve.gateway.answers import Answered, Choice
from harness.serve.gateway.served import AppRequest, Tokens
from harness.serve.protocol import GenerationRequest, TokenLogprob

# Any change of what is written below makes older entries unreadable, so they must not be found.
_FORM = 1


def model_request(requests: Sequence[GenerationRequest]) -> dict[str, object]:
    """All that decides the answer of a model: one entry a choice. A greedy one does not depend on its seed."""
    return {"form": _FORM, "calls": [_plain_data(asdict(_without_idle_seed(one))) for one in requests]}


def app_request(request: AppRequest, choices: int) -> dict[str, object]:
    """All that decides the answer of an app."""
    return {"form": _FORM, "choices": choices, **_plain_data(asdict(request))}


def encoded(answer: Answered) -> bytes:
    """An answer as JSON, without what its steps did; TypeError for scores that are no numbers."""
    choices = [
        {
            "text": choice.text,
            "finish_reason": choice.finish_reason,
            "scores": choice.scores,
            "logprobs": None if choice.logprobs is None else [_token(token) for token in choice.logprobs],
        }
        for choice in answer.choices
    ]
    figures = {"tokens": asdict(answer.tokens), "digest": answer.digest, "latency_ms": answer.latency_ms}
    return orjson.dumps({"choices": choices, **figures})


def decoded(content: bytes) -> Answered:
    """The answer that ``encoded`` wrote; LookupError, TypeError or ValueError for anything else."""
    plain = orjson.loads(content)
    choices = tuple(
        Choice(
            index,
            each["text"],
            each["finish_reason"],
            each["scores"],
            None if each["logprobs"] is None else tuple(_read_token(token) for token in each["logprobs"]),
        )
        for index, each in enumerate(plain["choices"])
    )
    return Answered(choices, Tokens(**plain["tokens"]), plain["digest"], latency_ms=plain["latency_ms"])


def _without_idle_seed(request: GenerationRequest) -> GenerationRequest:
    if request.decoding.temperature > 0:
        return request
    return replace(request, decoding=replace(request.decoding, seed=0))


def _plain_data(value: Any) -> Any:
    """``value`` with lists for tuples, as JSON would give it back."""
    if isinstance(value, dict):
        return {name: _plain_data(inner) for name, inner in value.items()}
    return [_plain_data(inner) for inner in value] if isinstance(value, list | tuple) else value


def _token(token: TokenLogprob) -> list[Any]:
    top = [[text, list(data), logprob] for text, data, logprob in token.top]
    return [token.text, list(token.data), token.logprob, top]


def _read_token(plain: Sequence[Any]) -> TokenLogprob:
    text, data, logprob, top = plain
    return TokenLogprob(text, bytes(data), logprob, tuple((name, bytes(raw), each) for name, raw, each in top))
