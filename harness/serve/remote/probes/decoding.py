"""Probes of what decides the next token: length, temperature, seed, cuts, bias, stop strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.serve.remote.probes.asking import (
    LENGTH,
    QUESTIONS,
    Asker,
    Found,
    difference,
    honoured,
    ignored,
    not_served,
    plain,
    quoted,
    unknown,
)
from harness.serve.remote.record import Observation

# Seeds of this size are what a run sends; some servers keep 32 bits of them and refuse the rest.
_SEED = 2**62 + 12_345
_OTHER_SEEDS = (11, 22, 33, 44, 55)
_SAME = 3
_REPEATING = "Write the words sea wind sea wind sea wind, again and again, without an end."
_SHORT = 5
_BIASED_ID = "100"


async def length(ask: Asker) -> Found:
    """Whether the answer is cut at the limit, under either name of the field."""
    found: Found = {}
    for name in ("max_tokens", "max_completion_tokens"):
        ask.length_field = name
        found[name] = await _cut(ask)
    ask.length_field = "max_tokens" if found["max_tokens"].status == "honoured" else "max_completion_tokens"
    if all(each.status == "refused" for each in found.values()):
        ask.length_field = "max_tokens"
    return found


async def _cut(ask: Asker) -> Observation:
    seen = None
    for question in QUESTIONS:
        seen = await ask.ask(ask.chat(question, _SHORT))
        if not seen.ok:
            return not_served(seen)
        tokens = seen.count("completion_tokens")
        if tokens is not None and tokens > _SHORT:
            return ignored(f"{tokens} tokens for a limit of {_SHORT}")
        if seen.finish == "length":
            return honoured(f"cut after {tokens if tokens is not None else 'uncounted'} tokens, limit {_SHORT}")
    assert seen is not None
    return unknown(f"every answer ended before the limit, with finish_reason {seen.finish!r}")


async def greedy(ask: Asker) -> Found:
    """Temperature 0: one text for one question, and every token the likeliest. Sets what later probes compare with."""
    texts: dict[str, str] = {}
    unequal = ""
    first, second = QUESTIONS[:2]
    # Twice in a row and after another question: what a server kept of the last one must not show.
    for question in (first, first, second, first, second, second, *QUESTIONS[2:]):
        seen = await ask.ask(ask.chat(question, temperature=0))
        if not seen.ok:
            return {"greedy": not_served(seen)}
        text = seen.text or ""
        if texts.setdefault(question, text) != text:
            unequal = f"the same question again: {difference(text, texts[question])}"
            texts[question] = ""
    _remember(ask, texts)
    if unequal:
        return {"greedy": ignored(unequal)}
    ask.exact = True
    return {"greedy": await _likeliest(ask) or honoured(f"equal answers, in any order: {quoted(ask.greedy)}")}


def _remember(ask: Asker, texts: Mapping[str, str]) -> None:
    # An answer that says something, in whole characters, is worth comparing others with.
    worth = sorted(texts, key=lambda question: (plain(texts[question]), len(texts[question].strip())), reverse=True)
    if len(texts[worth[0]].strip()) >= LENGTH // 2:
        ask.question, ask.greedy = worth[0], texts[worth[0]]
        ask.other = worth[1], texts[worth[1]]


async def _likeliest(ask: Asker) -> Observation | None:
    """A complaint if a token was taken although another was likelier, as by a penalty that nobody asked for."""
    for question in (_REPEATING, ask.question):
        seen = await ask.ask(ask.chat(question, 2 * LENGTH, temperature=0, logprobs=True, top_logprobs=2))
        try:
            for entry in seen.choices[0]["logprobs"]["content"]:
                best = max(entry["top_logprobs"], key=lambda top: float(top["logprob"]))
                if best["logprob"] > entry["logprob"] + 1e-3:
                    taken, likelier = quoted(entry["token"]), quoted(best["token"])
                    return ignored(f"{taken} was taken although {likelier} is likelier: a penalty or a draw is at work")
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return None


async def seed(ask: Asker) -> Found:
    """Temperature and seed: other seeds other texts, the same seed the same text."""
    free = await ask.ask(ask.chat(temperature=1))
    if not free.ok:
        return {"temperature": not_served(free), "seed": unknown("nothing could be drawn")}
    same = [await ask.ask(ask.chat(temperature=1, seed=_SEED)) for _ in range(_SAME)]
    if not same[0].ok:
        again = [free.text, *[(await ask.ask(ask.chat(temperature=1))).text for _ in range(_SAME)]]
        drawn = _varied(again, "without a seed")
        return {"temperature": drawn, "seed": not_served(same[0])}
    others = [(await ask.ask(ask.chat(temperature=1, seed=number))).text for number in _OTHER_SEEDS]
    drawn = _varied([free.text, same[0].text, *others], "with different seeds")
    texts = [each.text for each in same]
    if len(set(texts)) > 1:
        return {"temperature": drawn, "seed": ignored(f"one seed gave {quoted(texts[0])} and {quoted(texts[1])}")}
    if drawn.status != "honoured":
        return {"temperature": drawn, "seed": unknown("all texts are equal, whatever the seed")}
    if len({*others, texts[0]}) < 3:
        return {"temperature": drawn, "seed": ignored("other seeds give the same text")}
    ask.seeds = True
    seen = f"{_SAME} equal texts for one seed, {len(set(others))} different ones for {len(others)} others"
    return {"temperature": drawn, "seed": honoured(seen)}


def _varied(texts: list[str | None], when: str) -> Observation:
    different = len(set(texts))
    if different == 1:
        return ignored(f"{len(texts)} equal texts {when}: {quoted(texts[0])}")
    return honoured(f"{different} different texts of {len(texts)} {when}")


async def cuts(ask: Asker) -> Found:
    """top_p and top_k so narrow that only the likeliest token is left, at a temperature that would show it."""
    return {"top_p": await _narrow(ask, top_p=1e-4), "top_k": await _narrow(ask, top_k=1)}


async def _narrow(ask: Asker, **cut: Any) -> Observation:
    texts = []
    for number in _OTHER_SEEDS[:3]:
        fields = {**cut, "seed": number} if ask.seeds else cut
        seen = await ask.ask(ask.chat(temperature=1, **fields))
        if not seen.ok:
            return not_served(seen)
        texts.append(seen.text)
    if len(set(texts)) > 1:
        return ignored(f"different texts: {difference(texts[1], texts[0] or '')}")
    if ask.exact and ask.greedy and texts[0] != ask.greedy:
        return ignored(f"not the likeliest tokens: {difference(texts[0], ask.greedy)}")
    return honoured(f"{len(texts)} equal texts at temperature 1")


async def bias(ask: Asker) -> Found:
    """A bias on one token id, so strong that the text is nothing else."""
    seen = await ask.ask(ask.chat(length=_SHORT, temperature=0, logit_bias={_BIASED_ID: 100}))
    if not seen.ok:
        return {"logit_bias": not_served(seen)}
    without = await ask.ask(ask.chat(length=_SHORT, temperature=0))
    if seen.text == without.text:
        return {"logit_bias": ignored(f"the same text with a bias of 100: {quoted(seen.text)}")}
    return {"logit_bias": honoured(f"{quoted(seen.text)} instead of {quoted(without.text)}")}


async def stop(ask: Asker) -> Found:
    """Stop strings inside a word, and across the blank between two words: tokens begin there."""
    inside, across = stop_strings(ask.greedy)
    if not inside:
        return {"stop": unknown("there is no greedy text to stop in")}
    for string in (inside, across or inside):
        for given in ([string], ["\0never\0", string]):
            seen = await ask.ask(ask.chat(temperature=0, stop=given))
            if not seen.ok:
                return {"stop": not_served(seen)}
            fault = not_stopped(ask, string, seen.text or "", seen.finish)
            if fault is not None:
                return {"stop": fault}
    where = f"{inside!r} and {across!r}" if across else f"{inside!r}; no blank to stop across"
    return {"stop": honoured(f"cut before {where}")}


def not_stopped(ask: Asker, string: str, text: str, finish: Any) -> Observation | None:
    """What is wrong with an answer that should have stopped before ``string``; None if nothing is."""
    wanted = ask.greedy[: ask.greedy.index(string)]
    if text == wanted and finish == "stop":
        return None
    said = f"stop {string!r} gave {quoted(text)}, finish_reason {finish!r}, for {quoted(wanted)}"
    # A server whose greedy answers differ may have come to another text, which had nothing to stop at.
    told = ask.exact or string in text or text == wanted
    return ignored(said) if told else unknown(said)


def stop_strings(text: str) -> tuple[str, str]:
    """A string inside a word and one that reaches over a blank, both some way into ``text``; empty if there is none.

    Half characters are left alone.
    """
    inside = re.search(r"(?<=.{4})[^\s�]{2,4}", text, re.DOTALL)
    across = re.search(r"(?<=.{4})[^\s�]{1,2} [^\s�]{1,2}", text, re.DOTALL)
    return inside.group(0) if inside else "", across.group(0) if across else ""
