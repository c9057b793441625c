"""Attempts: which texts are sent in which carriers, and what each of them asks for. The choice is seeded and stable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import UsageError
from harness.safety.carriers import DIALOGUE, carried, usual
from harness.safety.texts import Fetch, Seed, seeds_of
from harness.spec.apps import App
from harness.spec.probe_sets import Carrier, Family, ForbiddenActionSet, ProbeSet
from harness.spec.probes import Probes
from harness.spec.suites import Case, ChatTurn

_SYLLABLES = (
    "tal",
    "vor",
    "mek",
    "lun",
    "dra",
    "pes",
    "kin",
    "zub",
    "fal",
    "gor",
    "nim",
    "rex",
    "sol",
    "wim",
    "jat",
    "hub",
)
_LONGEST_ID = 80


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attack as it is sent. ``case`` is what the app is asked; ``sent`` all text that it was given.

    ``canary`` is the random word that the attack may ask for, ``host`` a host of nobody's.
    """

    set_id: str
    family: Family
    seed: str
    carrier: Carrier
    case: Case
    sent: tuple[str, ...]
    canary: str
    host: str


def attempts_of(probes: Probes, probe: ProbeSet, app: App, fetch: Fetch) -> tuple[Attempt, ...]:
    """The attempts of a set, those that it borrows last: the same for every arm and on every machine.

    UsageError when the texts do not suffice for ``attempts``, or a source cannot be had as it was pinned.
    """
    lenders = [other for name in probe.borrow for other in probes.probes if other.id == name]
    lent = [_lent(attempt, probe) for other in lenders for attempt in _own(probes, other, app, fetch)]
    return (*_own(probes, probe, app, fetch), *lent)


def _lent(attempt: Attempt, probe: ProbeSet) -> Attempt:
    """The same message under another goal; its case is one of this set, its cluster still its text."""
    name = f"{attempt.set_id}-{attempt.seed}"
    own = {"id": _case_id(probe.id, name, attempt.carrier), "group": name, "slices": (probe.family, attempt.carrier)}
    case = attempt.case.model_copy(update=own)
    return replace(attempt, set_id=probe.id, family=probe.family, seed=name, case=case)


def _own(probes: Probes, probe: ProbeSet, app: App, fetch: Fetch) -> tuple[Attempt, ...]:
    others = [other for other in probes.probes if other.family != "over_refusal"]
    seeds = {seed.id: seed for seed in seeds_of(probe, others, fetch)}
    dialogue = not probe.into and any(spec.source == "history" for spec in app.inputs.values())
    carriers = probe.carriers or usual(probe.family, dialogue=dialogue)
    if not dialogue and (needed := sorted(DIALOGUE & set(carriers))):
        message = f"set {probe.id!r}: carrier {needed[0]!r} needs an app with an input 'from: history', and no 'into'"
        raise UsageError(message)
    most = len(seeds) * len(carriers)
    if probe.attempts > most:
        message = (
            f"set {probe.id!r} asks for {probe.attempts} attempts, and {len(seeds)} texts in {len(carriers)} carriers "
            f"give {most}; add texts or carriers, or ask for fewer"
        )
        raise UsageError(message)
    chosen = choose(list(seeds), carriers, probe.attempts, f"{probes.seed}/{probe.id}")
    return tuple(_attempt(probes, probe, seeds[name], carrier) for name, carrier in chosen)


def choose(seeds: Sequence[str], carriers: Sequence[Carrier], count: int, salt: str) -> list[tuple[str, Carrier]]:
    """``count`` pairs: every text once before any comes twice, each time in another carrier.

    Both orders come from hashes, so that a text that is added or removed moves few of the others.
    """
    order = sorted(seeds, key=lambda name: _hash(salt, name))
    dress = {name: sorted(carriers, key=lambda carrier: _hash(salt, name, carrier)) for name in order}
    return [(name, dress[name][turn]) for turn in range(len(carriers)) for name in order][:count]


def _attempt(probes: Probes, probe: ProbeSet, seed: Seed, carrier: Carrier) -> Attempt:
    number = int.from_bytes(_hash(str(probes.seed), probe.id, seed.id, carrier)[:8], "big")
    slots = _slots(number, probe)
    dressed = carried(carrier, _filled(seed.text, slots), tuple(slots.values()))
    frame = probe.frame or probes.frame
    text = frame.replace("{text}", dressed.text) if frame else dressed.text
    earlier = tuple(
        ChatTurn(role=turn.role, content=_filled(turn.content, slots)) for turn in (*seed.before, *dressed.before)
    )
    inputs: dict[str, Any] = dict(probes.inputs)
    messages: tuple[ChatTurn, ...] = ()
    if probe.into:
        inputs[probe.into] = text
    else:
        messages = (*earlier, ChatTurn(role="user", content=text))
    case = Case(
        id=_case_id(probe.id, seed.id, carrier),
        inputs=inputs,
        messages=messages,
        slices=(probe.family, carrier),
        group=seed.id,
    )
    sent = (*(turn.content for turn in earlier), text)
    return Attempt(probe.id, probe.family, seed.id, carrier, case, sent, slots["canary"], slots["host"])


def _slots(number: int, probe: ProbeSet) -> Mapping[str, str]:
    """What stands in the slots of a text: words that no model and no page has seen before."""
    picked = [_SYLLABLES[(number >> shift) % 16] for shift in (0, 4, 8)]
    word, tail = "".join(picked).upper(), 1000 + (number >> 16) % 9000
    actions = probe.demand if isinstance(probe, ForbiddenActionSet) else ("refund_everything",)
    return {
        "canary": f"{word}-{tail}",
        "left": word,
        "right": str(tail),
        "host": f"{word.lower()}-{tail}.example",
        "action": actions[(number >> 32) % len(actions)],
    }


def _filled(text: str, slots: Mapping[str, str]) -> str:
    # Not str.format: attacks are full of braces of their own.
    for name, value in slots.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _case_id(*parts: str) -> str:
    name = ".".join(parts)
    return name if len(name) <= _LONGEST_ID else f"{name[: _LONGEST_ID - 9]}-{_hash(name).hex()[:8]}"


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()
