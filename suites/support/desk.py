"""The support desk's own code: reading a message, looking up facts, composing approved sentences."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

_ORDER = re.compile(
    r"(?:\bord(?:er)?\b[\s.:#-]*(?:number|no\.?|nr\.?|num)?[\s:#-]*|#\s*|\bORD)(\d{2}[\s.-]?\d{3})\b", re.IGNORECASE
)
_BARE = re.compile(r"(?<![\d.,])(4[4-9]\d{3})(?![\d.,]*\d)")
_MAX_WORDS = 90
_HIGH = re.compile(
    r"\b(urgent\w*|asap|immediately|right away|at once|today|tonight|tomorrow|emergency|lawyer|court|fraud\w*|stolen|"
    r"hacked|smoke|smoking|fire|sparks?|shock|burn\w*|injur\w*|bleed\w*|allerg\w*|chok\w*|glass in|danger\w*|"
    r"third time|chargeback|police)\b",
    re.IGNORECASE,
)
_HUMAN = re.compile(
    r"\b(real person|human( being)?|a person|manager|supervisor|lawyer|court|fraud\w*|stolen|hacked|chargeback|"
    r"consumer (authority|protection)|third time|3rd time|"
    r"fourth time|someone else (used|ordered)|charged (me )?twice|double charge\w*|"
    r"smoke|smoking|fire|sparks?|electric shock|allerg\w*|bleed\w*|injur\w*)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=1)
def _policy() -> dict[str, Any]:
    return _load("policy.yaml")


@lru_cache(maxsize=1)
def _orders() -> dict[str, dict[str, Any]]:
    return {order["id"]: order for order in _load("orders.yaml")["orders"]}


def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))


def order_number(text: str) -> str | None:
    """The last order number in a text, as the shop writes it."""
    found = [match.group(1) for match in _ORDER.finditer(text)] or [match.group(1) for match in _BARE.finditer(text)]
    return f"ORD-{re.sub(r'[^0-9]', '', found[-1])}" if found else None


def read(message: str, history: list[dict[str, str]]) -> dict[str, Any]:
    """The text that triage sees, and the order that is talked about.

    A dialogue's last message is often short ("yes, the blue one"): the customer's message before it comes along.
    """
    words = message.split()
    text = " ".join(
        words if len(words) <= _MAX_WORDS else [*words[: _MAX_WORDS // 2], "...", *words[-_MAX_WORDS // 2 :]]
    )
    earlier = [turn["content"] for turn in history if turn["role"] == "user"]
    if earlier and len(words) < 12:
        text = " ".join([*earlier[-1].split()[-40:], text])
    order = order_number(message) or next(
        (n for turn in reversed(history) if (n := order_number(turn["content"]))), None
    )
    return {"text": text, "order_id": order}


def facts(
    intent: str, urgency: str, action: str, text: str, order_id: str | None, tier: str, channel: str
) -> dict[str, Any]:
    """Urgency, needed action and the approved sentences that fit, their slots filled.

    What the model says of urgency and action is taken where the desk's own rules leave a choice.
    """
    order = _orders().get(order_id or "")
    urgency = "high" if _HIGH.search(text) else urgency
    action = _action(intent, action, text, order_id)
    known = {
        "action": action,
        "tier": tier,
        "channel": channel,
        "urgency": urgency,
        "status": order["status"] if order else None,
    }
    entry = _policy()["intents"][intent]
    own = [s for s in entry["sentences"] if not s.get("extra")]
    fitting = [s for s in own if _holds(s.get("when", {}), known) and (order or "{" not in s["text"])]
    fitting = fitting or [s for s in own if "{" not in s["text"]] or _policy()["common"]
    tone = next(s["tone"] for s in _policy()["styles"] if s["tier"] == tier and s["channel"] == channel)
    slots = _slots(order)
    return {
        "urgency": urgency,
        "action": action,
        "order_id": None if intent == "out_of_scope" else order_id,
        "escalate": action == "escalate_to_human",
        "tone": tone,
        "candidates": {sentence["id"]: sentence["text"].format(**slots) for sentence in fitting},
        "openers": [s["text"] for s in _policy()["common"] if s["tone"] == tone and _holds(s.get("when", {}), known)],
        "channel": channel,
    }


def _action(intent: str, action: str, text: str, order_id: str | None) -> str:
    """The model's action, unless the policy decides: who needs a person, and what an order number allows."""
    if intent == "out_of_scope":
        return "decline"
    if action == "escalate_to_human" or _HUMAN.search(text):
        return "escalate_to_human"
    if order_id is None:
        return "answer"
    return "start_return" if action == "start_return" else "lookup_order"


def _holds(when: dict[str, Any], known: dict[str, Any]) -> bool:
    return all(known.get(key) in (value if isinstance(value, list) else [value]) for key, value in when.items())


def _slots(order: dict[str, Any] | None) -> dict[str, str]:
    if order is None:
        return {}
    return {
        "order_id": order["id"],
        "status": str(order["status"]).replace("_", " "),
        "eta": str(order["eta"]),
        "carrier": order["carrier"],
        "amount": f"EUR {order['amount']:.2f}",
        "items": ", ".join(order["items"]),
    }


def compose(sentence: str, facts: dict[str, Any]) -> str:
    """The reply: an opener where the style has room for one, then the chosen sentence."""
    body = facts["candidates"][sentence]
    if facts["channel"] == "chat" or not facts["openers"]:
        return body
    return f"{facts['openers'][0]} {body}"


def approved(subject: Any) -> bool:
    """Check: the reply is made of approved sentences and of nothing else."""
    facts = subject.steps["facts"]
    rest = subject.output
    for sentence in [*facts["openers"], *facts["candidates"].values()]:
        rest = rest.replace(sentence, "")
    return bool(subject.output.strip()) and not rest.strip()


def order_right(subject: Any) -> bool:
    """Check: the order that is talked about was found, or none where none is."""
    return subject.steps["facts"]["order_id"] == (subject.expect or None)


def in_tone(subject: Any) -> bool:
    """Check: the chosen sentence speaks as the customer's style asks, or is brief, which fits every style."""
    chosen = subject.steps["reply"]
    tones = {s["id"]: s["tone"] for entry in _policy()["intents"].values() for s in entry["sentences"]}
    return tones.get(chosen, "brief") in (subject.steps["facts"]["tone"], "brief")
