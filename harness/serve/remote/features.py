"""The features of an endpoint that a request may rely on, and which of them a given request does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

from harness.serve.protocol import ChoiceOutput, GenerationRequest, JsonOutput

Feature = Literal[
    "chat",
    "system",
    "completions",
    "usage",
    "max_tokens",
    "max_completion_tokens",
    "greedy",
    "temperature",
    "seed",
    "top_p",
    "top_k",
    "stop",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "json_object",
    "json_schema",
    "stream",
    "stream_role",
    "stream_usage",
    "stream_done",
    "stream_stop",
    "stream_logprobs",
    "parallel",
    "batch_exact",
    "unknown_field",
    "error_shape",
    "key",
]
Status = Literal["honoured", "ignored", "refused", "unknown"]

FEATURES: tuple[Feature, ...] = get_args(Feature)
MEANINGS: Mapping[Feature, str] = {
    "chat": "answers a chat with text, one choice and a finish_reason",
    "system": "a system message changes what the model reads",
    "completions": "continues a raw prompt (/completions)",
    "usage": "counts the tokens of prompt and answer, and the sum is right",
    "max_tokens": "the answer is cut there, with finish_reason 'length'",
    "max_completion_tokens": "the same under the newer name",
    "greedy": "temperature 0 takes the likeliest token, whatever was asked before",
    "temperature": "a temperature above 0 draws: texts differ",
    "seed": "the same seed gives the same text, other seeds other texts",
    "top_p": "a tiny top_p leaves the likeliest token only",
    "top_k": "top_k 1 leaves the likeliest token only",
    "stop": "the text ends before a stop string, also one that lies across tokens",
    "logit_bias": "a bias on a token id changes the text",
    "logprobs": "every token of the text has its log-probability",
    "top_logprobs": "so many alternatives for each token, the best of them first",
    "n": "as many choices as asked for",
    "json_object": "the text is JSON although the question asks for prose",
    "json_schema": "the text obeys a schema although the question asks for something else",
    "stream": "the pieces of a stream are the same text, with a finish_reason",
    "stream_role": "the first chunk names the role",
    "stream_usage": "stream_options.include_usage counts the tokens of a stream",
    "stream_done": "a stream ends with [DONE]",
    "stream_stop": "a stream holds back what may be the beginning of a stop string",
    "stream_logprobs": "the tokens of a stream have their log-probabilities",
    "parallel": "requests at the same time do not break each other off",
    "batch_exact": "requests at the same time get the very answers that they get alone",
    "unknown_field": "a field that does not exist is refused",
    "error_shape": "errors have the shape {'error': {'message', ...}} and a 4xx status",
    "key": "a wrong key is refused",
}

_STREAMS: tuple[Feature, ...] = ("stream", "stream_usage", "stream_done")


def stream_needs(request: GenerationRequest) -> Iterator[tuple[Feature, str]]:
    """What else ``request`` relies on when its answer is streamed."""
    yield from ((feature, "stream") for feature in _STREAMS)
    if request.decoding.stop:
        yield "stream_stop", "stop"
    if request.logprobs is not None:
        yield "stream_logprobs", "logprobs"


def needs(request: GenerationRequest) -> Iterator[tuple[Feature, str]]:
    """Each feature that ``request`` relies on, with the field of the request that does."""
    decoding = request.decoding
    if request.prompt is not None:
        yield "completions", "prompt"
    if any(message.role == "system" for message in request.messages):
        yield "system", "messages"
    if decoding.temperature == 0:
        yield "greedy", "temperature"
    else:
        yield "temperature", "temperature"
        yield "seed", "seed"
        if decoding.top_p < 1:
            yield "top_p", "top_p"
        if decoding.top_k:
            yield "top_k", "top_k"
    if decoding.stop:
        yield "stop", "stop"
    if decoding.logit_bias:
        yield "logit_bias", "logit_bias"
    if request.logprobs is not None:
        yield "logprobs", "logprobs"
        if request.logprobs:
            yield "top_logprobs", "top_logprobs"
    if isinstance(request.output, JsonOutput) and request.output.schema is None:
        yield "json_object", "response_format"
    elif isinstance(request.output, JsonOutput | ChoiceOutput):
        yield "json_schema", "response_format"
