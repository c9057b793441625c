"""Probes of the form of an answer: choices, log-probabilities, JSON, counted tokens, raw prompts, system messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from harness.serve.remote.probes.asking import (
    LENGTH,
    QUESTIONS,
    Asker,
    Found,
    honoured,
    ignored,
    not_served,
    plain,
    quoted,
    unknown,
)
from harness.serve.remote.record import Observation
from harness.serve.remote.wire import COMPLETIONS, choice_schema, json_format

_CHOICES = 3
_TOP = 2
_JSON_LENGTH = 64
_PROSE = "Write one plain sentence about a dog, as prose. Do not use JSON, braces or quotes."
_SYSTEM = (
    "You are the keeper of an old lighthouse. You speak slowly, you like the word lantern, you never mention money, "
    "and you end what you say with a remark about the weather."
)
# Words that no model would come upon by itself.
_OPTIONS = ("vorm-7", "keskel", "tuulik")
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": list(_OPTIONS)}, "warm": {"type": "boolean"}},
    "required": ["colour", "warm"],
    "additionalProperties": False,
}


async def choices(ask: Asker) -> Found:
    """As many choices as asked for."""
    seen = await ask.ask(ask.chat(length=4, temperature=1, n=_CHOICES))
    if not seen.ok:
        return {"n": not_served(seen)}
    count = len(seen.choices)
    return {"n": (honoured if count == _CHOICES else ignored)(f"{count} choices for n={_CHOICES}")}


async def logprobs(ask: Asker) -> Found:
    """One entry for each token, whose texts make up the answer; with alternatives when they are asked for."""
    seen = await ask.ask(ask.chat(temperature=0, logprobs=True, top_logprobs=1))
    if not seen.ok:
        missing = not_served(seen)
        return {"logprobs": missing, "top_logprobs": missing}
    found = _of_tokens(_entries(seen.choices), seen.text or "", seen.count("completion_tokens"))
    top = await ask.ask(ask.chat(temperature=0, logprobs=True, top_logprobs=_TOP))
    return {"logprobs": found, "top_logprobs": _of_tops(_entries(top.choices)) if top.ok else not_served(top)}


def _entries(found: list[Any]) -> list[Any]:
    try:
        content = found[0]["logprobs"]["content"]
    except (KeyError, IndexError, TypeError):
        return []
    return content if isinstance(content, list) else []


def _of_tokens(entries: list[Any], text: str, tokens: int | None) -> Observation:
    if not entries:
        return ignored("the answer has no log-probabilities")
    try:
        values = [float(entry["logprob"]) for entry in entries]
        joined = "".join(entry["token"] for entry in entries)
    except (KeyError, TypeError, ValueError):
        return ignored(f"not a list of tokens: {entries!r:.80}")
    if any(math.isnan(value) or value > 1e-3 for value in values):
        return ignored(f"{max(values):g} is no log-probability")
    # The end-of-turn token is counted by some servers and has no text.
    if tokens is not None and not tokens - 1 <= len(entries) <= tokens:
        return ignored(f"{len(entries)} log-probabilities for {tokens} tokens")
    if plain(text) and plain(joined) and not joined.startswith(text) and text.strip() not in joined:
        return ignored(f"the tokens say {quoted(joined)}, the text {quoted(text)}")
    return honoured(f"{len(entries)} for {tokens if tokens is not None else 'uncounted'} tokens")


def _of_tops(entries: list[Any]) -> Observation:
    counts = {len(entry.get("top_logprobs") or ()) for entry in entries if isinstance(entry, dict)}
    if not counts or min(counts) < _TOP:
        return ignored(f"{min(counts, default=0)} alternatives for a token, {_TOP} were asked for")
    return honoured(f"{_TOP} or more for each of {len(entries)} tokens")


async def json_object(ask: Asker) -> Found:
    """JSON although the question asks for prose."""
    seen = await ask.ask(ask.chat(_PROSE, _JSON_LENGTH, temperature=0, response_format=json_format(None)))
    if not seen.ok:
        return {"json_object": not_served(seen)}
    text = seen.text or ""
    try:
        is_object = isinstance(orjson.loads(text), dict)
    except ValueError:
        if seen.finish == "length" and text.lstrip().startswith("{"):
            return {"json_object": honoured(f"begins as JSON and was cut by the limit: {quoted(text)}")}
        return {"json_object": ignored(f"not JSON: {quoted(text)}")}
    return {"json_object": honoured(quoted(text)) if is_object else ignored(f"no JSON object: {quoted(text)}")}


async def json_schema(ask: Asker) -> Found:
    """Two schemas that leave only a few texts, none of which the question suggests."""
    evidence = []
    for schema in (_SCHEMA, choice_schema(_OPTIONS)):
        found = await _obeyed(ask, schema)
        if found.status != "honoured":
            return {"json_schema": found}
        evidence.append(found.evidence)
    return {"json_schema": honoured(" and ".join(evidence))}


async def _obeyed(ask: Asker, schema: Mapping[str, Any]) -> Observation:
    import jsonschema

    text, finish = "", None
    for question in (_PROSE, *QUESTIONS[:2]):
        seen = await ask.ask(ask.chat(question, _JSON_LENGTH, temperature=0, response_format=json_format(schema)))
        if not seen.ok:
            return not_served(seen)
        text, finish = seen.text or "", seen.finish
        try:
            jsonschema.validate(orjson.loads(text), schema)
        except ValueError:
            if finish != "length" or not f"{text.lstrip()}{{".startswith("{"):
                return ignored(f"not JSON: {quoted(text)}")
            continue
        except jsonschema.ValidationError as problem:
            return ignored(f"{problem.message[:80]} in {quoted(text)}")
        return honoured(quoted(text))
    return unknown(f"cut by the limit every time: {quoted(text)}, finish_reason {finish!r}")


async def usage(ask: Asker) -> Found:
    """Figures that fit each other, the limit and the length of the question."""
    short, long = await ask.ask(ask.chat("Why?", 4)), await ask.ask(ask.chat(" ".join(QUESTIONS), 4))
    if not (short.ok and long.ok):
        return {"usage": not_served(long if short.ok else short)}
    figures = []
    for seen in (short, long):
        prompt, completion, total = (
            seen.count(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        )
        if prompt is None or completion is None:
            return {"usage": ignored("the answer counts no tokens")}
        if total is not None and total != prompt + completion:
            return {"usage": ignored(f"{prompt} + {completion} tokens make {total}")}
        figures.append((prompt, completion))
    if figures[0][0] >= figures[1][0] or any(prompt < 1 for prompt, _ in figures):
        return {"usage": ignored(f"{figures[0][0]} prompt tokens for 'Why?', {figures[1][0]} for four sentences")}
    return {"usage": honoured(f"{figures[0][0]} and {figures[1][0]} prompt tokens, {figures[1][1]} of an answer")}


async def system(ask: Asker) -> Found:
    """A system message, which must show in what is read or what is answered."""
    without = await ask.ask(ask.chat(temperature=0))
    body = ask.chat(temperature=0)
    body["messages"] = [{"role": "system", "content": _SYSTEM}, *body["messages"]]
    seen = await ask.ask(body)
    if not seen.ok:
        return {"system": not_served(seen)}
    more = (seen.count("prompt_tokens") or 0) - (without.count("prompt_tokens") or 0)
    if more <= 0 and seen.text == without.text:
        return {"system": ignored("the same answer from as many prompt tokens")}
    return {"system": honoured(f"{more} prompt tokens more" if more > 0 else f"another answer: {quoted(seen.text)}")}


async def completions(ask: Asker) -> Found:
    """A raw prompt, continued."""
    body = {"model": ask.endpoint.model_id, "prompt": "The lighthouse keeper", ask.length_field: LENGTH}
    seen = await ask.ask({**body, "temperature": 0}, COMPLETIONS)
    if not seen.ok:
        return {"completions": not_served(seen)}
    if seen.text is None or seen.finish not in ("stop", "length"):
        return {"completions": ignored(f"{quoted(seen.text)}, finish_reason {seen.finish!r}")}
    return {"completions": honoured(quoted(seen.text))}
