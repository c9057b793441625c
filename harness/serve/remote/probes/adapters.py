"""Probes of an adapter that an endpoint serves under a name of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.serve.remote.address import Endpoint
from harness.serve.remote.probes.asking import (
    QUESTIONS,
    Asker,
    Found,
    Seen,
    difference,
    honoured,
    ignored,
    not_served,
    quoted,
    unknown,
)
from harness.serve.remote.record import Observation

_ROUNDS = 2
Alone = dict[tuple[str, str], Seen]


async def observe_adapter(ask: Asker, base: Endpoint) -> Found:
    """Whether the adapter changes anything (``chat``), and only what it should (``batch_exact``).

    Some servers accept an adapter that does not fit and answer with the bare model. vLLM's CPU kernels take the
    weights of the last adapter for the rows that have none, as soon as both are in one batch.
    """
    alone: Alone = {}
    for question in QUESTIONS:
        for model in (ask.endpoint.model_id, base.model_id):
            seen = await ask.ask(_body(ask, model, question))
            if not seen.ok:
                return {"chat": not_served(seen), "batch_exact": unknown("it is not served")}
            alone[model, question] = seen
    effect = _effect(ask.endpoint.model_id, base.model_id, alone)
    mixed = await _mixed(ask, alone) if effect.status == "honoured" else unknown("there is no effect to be seen")
    return {"chat": effect, "batch_exact": mixed}


def _body(ask: Asker, model: str, question: str) -> dict[str, Any]:
    return {**ask.chat(question, temperature=0, logprobs=True, top_logprobs=1), "model": model}


def _effect(adapter: str, base: str, alone: Alone) -> Observation:
    for question in QUESTIONS:
        with_it, without = alone[adapter, question], alone[base, question]
        if with_it.text != without.text:
            return honoured(f"{quoted(with_it.text)} where {base} says {quoted(without.text)}")
        if with_it.choices[0].get("logprobs") != without.choices[0].get("logprobs"):
            return honoured(f"the texts of {base} with other log-probabilities")
    return ignored(f"it changes nothing: {len(QUESTIONS)} answers equal those of {base}")


async def _mixed(ask: Asker, alone: Alone) -> Observation:
    for _ in range(_ROUNDS):
        together = await asyncio.gather(*(ask.ask(_body(ask, *key)) for key in alone))
        for (model, question), seen in zip(alone, together, strict=True):
            expected = alone[model, question].text or ""
            if not seen.ok:
                return not_served(seen)
            if seen.text != expected:
                return ignored(f"in one batch with the other, {model} says {difference(seen.text, expected)}")
    return honoured(f"{_ROUNDS * len(alone)} answers in mixed batches, each as alone")
