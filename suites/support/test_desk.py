"""The support desk's own code: what must hold of its function steps whatever the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent
INTENTS = sorted(yaml.safe_load((HERE / "policy.yaml").read_text(encoding="utf-8"))["intents"])
ORDERS = [order["id"] for order in yaml.safe_load((HERE / "orders.yaml").read_text(encoding="utf-8"))["orders"]]
STYLES = st.sampled_from(["ORD-{}", "ord {}", "#{}", "order {}", "Order no. {}", "order number: {}"])
ACTIONS = ["answer", "lookup_order", "start_return", "escalate_to_human", "decline"]
Step = Callable[..., Any]


@pytest.fixture(scope="module")
def read(app: Any) -> Step:
    """The step that reads a message."""
    return app.step("read")


@pytest.fixture(scope="module")
def facts(app: Any) -> Step:
    """The step that looks up facts."""
    return app.step("facts")


@pytest.fixture(scope="module")
def compose(app: Any) -> Step:
    """The step that writes the reply."""
    return app.step("compose")


@given(number=st.integers(44000, 49999), style=STYLES, before=st.sampled_from(["", "Hi,\n", "My lamp (it is new) of "]))
def test_order_number_in_any_style(read: Step, number: int, style: str, before: str) -> None:
    """However a customer writes an order number, it is read as the shop writes it."""
    found = read(message=f"{before}{style.format(number)} has not come", history=[])
    assert found["order_id"] == f"ORD-{number}"


@given(price=st.integers(0, 999), minutes=st.integers(10, 59))
def test_other_numbers_are_no_order(read: Step, price: int, minutes: int) -> None:
    """Prices, times and years are not taken for an order."""
    assert read(message=f"I paid EUR {price}.50 in 2026, at 14:{minutes}", history=[])["order_id"] is None


def test_order_of_a_dialogue(read: Step) -> None:
    """The order of an earlier message counts until another one is named."""
    history = [{"role": "user", "content": "Where is ORD-47105?"}, {"role": "assistant", "content": "On its way."}]
    assert read(message="and when?", history=history)["order_id"] == "ORD-47105"
    assert read(message="I meant ORD-47344", history=history)["order_id"] == "ORD-47344"


@given(words=st.lists(st.sampled_from(["lamp", "late", "please", "why"]), min_size=200, max_size=400))
def test_long_message_keeps_its_ends(read: Step, words: list[str]) -> None:
    """What triage sees of a long message is short and holds its beginning and its end."""
    text = read(message=" ".join(["first", *words, "last"]), history=[])["text"].split()
    assert (text[0], text[-1]) == ("first", "last")
    assert len(text) < 120


@given(
    intent=st.sampled_from(INTENTS),
    order=st.sampled_from([None, "ORD-11111", *ORDERS]),
    tier=st.sampled_from(["standard", "gold"]),
    channel=st.sampled_from(["chat", "email"]),
    text=st.sampled_from(["Where is it?", "I want a manager", "It caught fire", "no rush", ""]),
    said=st.tuples(st.sampled_from(["high", "normal", "low"]), st.sampled_from(ACTIONS)),
)
def test_every_customer_gets_a_finished_sentence(
    facts: Step,
    compose: Step,
    intent: str,
    order: str | None,
    tier: str,
    channel: str,
    text: str,
    said: tuple[str, str],
) -> None:
    """For every intent, order, tier and channel there is a reply to choose, and none has an open slot."""
    found = facts(intent=intent, urgency=said[0], action=said[1], text=text, order_id=order, tier=tier, channel=channel)
    assert found["candidates"]
    for name in found["candidates"]:
        reply = compose(sentence=name, facts=found)
        assert found["candidates"][name] in reply
        assert not set("{}") & set(reply)


@pytest.mark.parametrize(
    "text", ["The charger is smoking!", "Somebody used my card, this is fraud", "I will see you in court"]
)
def test_danger_goes_to_a_human(facts: Step, text: str) -> None:
    """Danger, fraud and law are handed over, unless the shop is not concerned at all."""
    said = {"urgency": "normal", "action": "answer", "text": text}
    found = facts(intent="damaged_item", **said, order_id=ORDERS[0], tier="standard", channel="chat")
    assert (found["action"], found["escalate"]) == ("escalate_to_human", True)
    assert not facts(intent="out_of_scope", **said, order_id=None, tier="standard", channel="chat")["escalate"]


@pytest.mark.slow
def test_no_reply_names_another_order(outputs: dict[str, Any]) -> None:
    """No reply of the whole suite names an order that the customer did not."""
    replies = [row for row in outputs.values() if row["status"] == "ok"]
    assert replies
    for row in replies:
        named = {order for order in ORDERS if order in row["output"]}
        assert named <= {row["steps"]["read"]["output"]["order_id"]}, row["case"]
