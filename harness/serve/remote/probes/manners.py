"""Probes of everything around an answer: its shape, streams, many at once, errors, keys."""

from __future__ import annotations

import asyncio

from harness.serve.remote.probes.asking import (
    QUESTIONS,
    Asker,
    Found,
    Seen,
    StreamSeen,
    difference,
    honoured,
    ignored,
    not_served,
    quoted,
    unknown,
)
from harness.serve.remote.probes.decoding import not_stopped, stop_strings
from harness.serve.remote.record import Observation

_WRONG_KEY = "signoff-probe-of-a-wrong-key"


async def chat(ask: Asker) -> Found:
    """The least that an answer must have."""
    seen = await ask.ask(ask.chat(QUESTIONS[1]))
    if not seen.ok:
        return {"chat": not_served(seen)}
    if seen.text is None or len(seen.choices) != 1 or seen.finish not in ("stop", "length"):
        said = f"{len(seen.choices)} choices, {quoted(seen.text)}, finish_reason {seen.finish!r}"
        return {"chat": ignored(said)}
    return {"chat": honoured(f"{quoted(seen.text)}, finish_reason {seen.finish!r}")}


async def stream(ask: Asker) -> Found:
    """The greedy answer once more, in pieces."""
    seen = await ask.stream(ask.chat(temperature=0))
    if seen.status != 200:
        missing = not_served(seen)
        return {"stream": missing, "stream_role": missing, "stream_usage": missing, "stream_done": missing}
    return {
        "stream": _pieces(ask, seen),
        "stream_role": _role(seen),
        "stream_usage": _usage(seen),
        "stream_done": honoured("[DONE]") if seen.done else ignored(seen.broke or "the stream ended without [DONE]"),
    }


def _pieces(ask: Asker, seen: StreamSeen) -> Observation:
    if seen.broke or not seen.choices:
        return ignored(seen.broke or "no chunk with a choice; the answer was no stream")
    if seen.finish not in ("stop", "length"):
        return ignored(f"the stream ended with finish_reason {seen.finish!r}")
    if ask.greedy and seen.text != ask.greedy:
        parted = f"in a stream {difference(seen.text, ask.greedy)}"
        return ignored(parted) if ask.exact else honoured(f"{len(seen.chunks)} chunks; {parted}, but so it is at once")
    return honoured(f"{len(seen.chunks)} chunks, the same text as at once")


def _role(seen: StreamSeen) -> Observation:
    first = seen.choices[0].get("delta") if seen.choices else None
    role = first.get("role") if isinstance(first, dict) else None
    return honoured("'assistant'") if role == "assistant" else ignored(f"the first chunk's role is {role!r}")


def _usage(seen: StreamSeen) -> Observation:
    counted = [chunk["usage"] for chunk in seen.chunks if isinstance(chunk, dict) and chunk.get("usage")]
    if not counted or not isinstance(counted[-1], dict) or not counted[-1].get("prompt_tokens"):
        return ignored("no chunk counts the tokens")
    figures = counted[-1]
    return honoured(f"{figures.get('prompt_tokens')} + {figures.get('completion_tokens')} tokens")


async def stream_stop(ask: Asker) -> Found:
    """A stop string, of whose beginning no piece may be let out."""
    inside, across = stop_strings(ask.greedy)
    string = across or inside
    if not string:
        return {"stream_stop": unknown("there is no greedy text to stop in")}
    seen = await ask.stream(ask.chat(temperature=0, stop=[string]))
    if seen.status != 200:
        return {"stream_stop": not_served(seen)}
    fault = not_stopped(ask, string, seen.text, seen.finish)
    return {"stream_stop": fault or honoured(f"cut before {string!r}")}


async def stream_logprobs(ask: Asker) -> Found:
    """Log-probabilities beside the pieces."""
    seen = await ask.stream(ask.chat(temperature=0, logprobs=True, top_logprobs=1))
    if seen.status != 200:
        return {"stream_logprobs": not_served(seen)}
    count = sum(len((choice.get("logprobs") or {}).get("content") or ()) for choice in seen.choices)
    return {"stream_logprobs": honoured(f"{count} tokens") if count else ignored("no chunk has any")}


async def parallel(ask: Asker) -> Found:
    """Streams and whole answers at the same time."""
    alone = {ask.question: ask.greedy, ask.other[0] or QUESTIONS[1]: ask.other[1]}
    asked = [*alone] * 2
    whole = [ask.ask(ask.chat(question, temperature=0)) for question in asked]
    streams = [ask.stream(ask.chat(question, temperature=0)) for question in asked]
    together, streamed = await asyncio.gather(asyncio.gather(*whole), asyncio.gather(*streams))
    answers: list[Seen | StreamSeen] = [*together, *streamed]
    exact = honoured(f"{len(answers)} requests at once, each as alone")
    for question, seen in zip(asked * 2, answers, strict=True):
        broke = seen.broke if isinstance(seen, StreamSeen) else ""
        if seen.said or broke or seen.finish not in ("stop", "length"):
            why = seen.said or broke or f"finish_reason {seen.finish!r}"
            failed = ignored(f"one of {len(answers)} requests at once failed: {why}")
            return {"parallel": failed, "batch_exact": failed}
        if seen.text != alone[question]:
            exact = ignored(f"{difference(seen.text, alone[question])} alone")
    if not (ask.exact and ask.greedy):
        exact = unknown("there is no greedy text to compare with")
    return {"parallel": honoured(f"{len(answers)} requests at once were answered"), "batch_exact": exact}


async def unknown_field(ask: Asker) -> Found:
    """A field that no API has."""
    seen = await ask.ask(ask.chat(length=1, signoff_probe_no_such_field=1))
    if seen.ok:
        return {"unknown_field": ignored("accepted in silence")}
    found = not_served(seen)
    return {"unknown_field": honoured(seen.said) if found.status == "refused" else found}


async def error_shape(ask: Asker) -> Found:
    """A temperature that is no number."""
    seen = await ask.ask(ask.chat(length=1, temperature="hot"))
    if seen.ok:
        return {"error_shape": ignored("temperature 'hot' was accepted")}
    error = seen.body.get("error") if isinstance(seen.body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return {"error_shape": ignored(f"another shape: {seen.said}")}
    if not 400 <= seen.status < 500:
        return {"error_shape": ignored(f"a server error for a wrong field: {seen.said}")}
    return {"error_shape": honoured(f"HTTP {seen.status}, param {error.get('param')!r}")}


async def key(ask: Asker) -> Found:
    """A key that is certainly wrong."""
    seen = await ask.ask(ask.chat(length=1), headers={"authorization": f"Bearer {_WRONG_KEY}"})
    if seen.status in (401, 403):
        return {"key": honoured(f"HTTP {seen.status} for a wrong key")}
    needless = "" if ask.endpoint.api_key_env else "; it asks for none"
    return {"key": ignored(f"a wrong key was let in{needless}") if seen.ok else unknown(seen.said)}
