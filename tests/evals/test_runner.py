"""The runner over scripted arms."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from harness.errors import SignoffError
from harness.serve.steps.chain import Call
from harness.spec.suites import Case
from tests.evals.arms import arm, cases, chain, failed, ok, run


def test_every_case_arm_and_repeat_once() -> None:
    """Each case is asked of each arm for each repeat, and each gives one output and one row a check."""
    both = [arm(lambda _: "no", "baseline"), arm(lambda _: "yes")]
    ran = run(both, cases(5), repeats=(0, 1, 2))
    keys = Counter((row["variant"], row["case"], row["repeat"]) for row in ran.rows)
    assert len(keys) == 2 * 5 * 3 and set(keys.values()) == {1}
    assert keys == Counter((row["variant"], row["case"], row["repeat"]) for row in ran.outputs)
    assert {(row["variant"], row["value"]) for row in ran.rows} == {("baseline", 0.0), ("candidate", 1.0)}
    assert (ran.tally.outputs, ran.tally.rows, ran.tally.errors, ran.tally.broken) == (30, 30, 0, "")


def test_arms_alternate_case_by_case() -> None:
    """Questions go to the arms in turns, so that both meet the same machine."""
    order: list[str] = []
    arms = [
        arm(lambda call: order.append("b" + call.case), "baseline"),
        arm(lambda call: order.append("c" + call.case)),
    ]
    run(arms, cases(4), concurrency=1)
    assert order == [side + f"c{i}" for i in range(4) for side in "bc"]


@pytest.mark.parametrize("limit", [1, 3, 16])
def test_concurrency_is_bounded(limit: int) -> None:
    """No more than ``concurrency`` questions are under way at once, and as many as that are."""
    asked = arm(lambda _: asyncio.sleep(0.002, "yes"))
    run([asked], cases(40), concurrency=limit)
    assert chain(asked).most == limit


def test_error_is_a_row_with_its_reason() -> None:
    """A failed answer gives error rows without a value; the cases beside it are scored."""
    ran = run([arm(lambda call: failed("boom") if call.case == "c1" else "yes")], cases(3))
    found = {row["case"]: (row["status"], row["value"], row["reason"]) for row in ran.rows}
    assert found["c1"] == ("error", None, "step 'sort': boom")
    assert found["c0"] == found["c2"] == ("scored", 1.0, "")
    assert ran.tally.errors == 1
    assert next(row for row in ran.outputs if row["case"] == "c1")["output_digest"] == ""


def test_deadline_of_the_suite() -> None:
    """A case without an answer within the suite's deadline is an error that names it; the run goes on."""
    ran = run([arm(lambda call: asyncio.sleep(30, "") if call.case == "c0" else "yes")], cases(3), deadline_s=0.05)
    found = {row["case"]: row for row in ran.rows}
    assert found["c0"]["reason"] == "no answer within the suite's deadline of 0.05 s"
    assert found["c2"]["value"] == 1.0 and ran.tally.broken == ""


def test_broken_harness_ends_the_asking() -> None:
    """After an error that is not the case's, nothing more is asked, what is done stays, the rest says why."""
    asked = arm(lambda call: SignoffError("wrong digest\nmore") if call.case == "c3" else "yes")
    ran = run([asked], cases(10), concurrency=1)
    assert ran.tally.broken == "wrong digest"
    assert [row["status"] for row in ran.rows] == ["scored"] * 3 + ["error"] * 7
    assert {row["reason"] for row in ran.rows[3:]} == {"not run: wrong digest"}
    assert len(chain(asked).asked) == 4


def test_dead_gateway_is_noticed_at_the_first_error() -> None:
    """After a failed answer the gateway is looked at; dead, it ends the run."""

    def dead() -> None:
        message = "the gateway died"
        raise SignoffError(message)

    ran = run(
        [arm(lambda call: failed("no route") if call.case == "c2" else "yes")], cases(6), concurrency=1, alive=dead
    )
    assert ran.tally.broken == "the gateway died"
    assert Counter(row["status"] for row in ran.rows) == {"scored": 2, "error": 4}


def test_stop_keeps_what_is_done() -> None:
    """Once asked to stop, questions under way are finished and the others become errors."""
    stops: list[Any] = []

    def answer(call: Call) -> str:
        if call.case == "c4":
            stops[0].set()
        return "yes"

    asked = arm(answer)
    ran = run([asked], cases(9), concurrency=1, arrange=lambda job: stops.append(job.stop))
    assert ran.tally.broken == "interrupted"
    assert [row["status"] for row in ran.rows] == ["scored"] * 5 + ["error"] * 4
    assert len(chain(asked).asked) == 5


def test_dialogue_is_asked_as_messages() -> None:
    """A dialogue reaches the app turn by turn; its shown input is the dialogue in lines."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    asked = arm(lambda _: "yes")
    ran = run([asked], [Case.model_validate({"id": "d", "messages": turns, "expect": {"label": "yes"}})])
    assert list(chain(asked).asked[0].messages) == turns
    assert ran.outputs[0]["input"] == "user: a\nassistant: b\nuser: c"


def test_output_row_is_the_whole_story() -> None:
    """An output row holds group, slices, expectation, figures and steps; equal texts have equal digests."""
    ran = run([arm(lambda _: ok("yes", tokens_in=7, tokens_out=2, latency_ms=5.0))], cases(2, slices=["s"], group="g"))
    first, second = ran.outputs
    shown = ("app", "group", "slices", "expect", "tokens_in", "tokens_out", "latency_ms", "status", "seed")
    assert [first[name] for name in shown] == ["desk", "g", ["s"], {"label": "yes"}, 7, 2, 5.0, "ok", 4]
    assert first["steps"]["sort"]["output"] == "yes"
    assert len(first["output_digest"]) == 64 and first["output_digest"] == second["output_digest"]
