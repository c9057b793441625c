"""Invariances drawn by Hypothesis and measured as rates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.evals import measure_property, rewrite_cases
from harness.evals.properties import BUILT_IN, draw, rewriting
from harness.serve.steps.chain import Call
from harness.spec.measurement import Measurement
from harness.spec.suites import Case, PropertySpec
from tests.evals.arms import arm, cases, chain, failed

TEXTS = ["Where is order 44871, please?", "  two  words ", "x", "Ünïcode ORD-45001 🙂"]


def rule(transform: str = "whitespace", **more: Any) -> PropertySpec:
    """A property of the input ``message``."""
    return PropertySpec.model_validate({"id": "stable", "transform": transform, "cases": 9, **more})


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("text", TEXTS)
def test_drawn_inputs_are_always_the_same(name: str, text: str) -> None:
    """Drawing twice gives the same texts in the same order: a property never flickers."""
    assert draw(BUILT_IN[name](text), 12) == draw(BUILT_IN[name](text), 12) != []


@pytest.mark.parametrize("text", TEXTS)
def test_rewritings_keep_what_they_promise(text: str) -> None:
    """Blanks keep the words, letter case keeps the folded text, number styles keep the digits."""
    for other in draw(BUILT_IN["whitespace"](text), 12):
        assert other.split() == text.split()
    for other in draw(BUILT_IN["letter_case"](text), 12):
        assert other.casefold() == text.casefold()
    digits = "".join(filter(str.isdigit, text))
    for other in draw(BUILT_IN["digit_style"](text), 12):
        assert "".join(filter(str.isdigit, other)) == digits


def test_rewritten_cases_are_chosen_before_any_is_asked() -> None:
    """The same cases and texts come out twice; each text differs from its case's own, at most ``cases`` of them."""
    spec, given = rule(cases=3, examples=2), cases(10)
    first = rewrite_cases(spec, given, Path())
    assert first == rewrite_cases(spec, given, Path())
    assert [item.case.id for item in first] == ["c0"] * 2 + ["c1"] * 2 + ["c2"] * 2 or len(first) <= 6
    assert {item.case.id for item in first} == {"c0", "c1", "c2"}
    assert all(item.text != item.case.inputs["message"] for item in first)


def test_only_fitting_cases_are_taken() -> None:
    """Cases of other slices, and texts that the rewriting leaves alone, are passed over."""
    given = [*cases(2), *cases(2, slices=["plain"])]
    assert {item.case.slices for item in rewrite_cases(rule(slices=["plain"]), given, Path())} == {("plain",)}
    assert rewrite_cases(rule("digit_style"), given, Path()) == []


def measured(answer: Any, spec: PropertySpec, given: list[Case]) -> list[Measurement]:
    """The rows of the property."""
    return asyncio.run(measure_property(spec, arm(answer), rewrite_cases(spec, given, Path()), 4))


def test_stable_app_scores_one() -> None:
    """An answer that does not look at blanks is the same for every rewritten input."""
    rows = measured(lambda call: " ".join(call.inputs["message"].split()), rule(), cases(4))
    assert [(row.metric, row.value, row.status) for row in rows] == [("stable", 1.0, "scored")] * 4


def test_unstable_app_scores_its_rate() -> None:
    """The value is the share of rewritten inputs with an unchanged answer."""
    rows = measured(lambda call: call.inputs["message"], rule(examples=3), cases(4))
    assert [row.value for row in rows] == [0.0] * 4
    half = measured(
        lambda call: str(len(call.inputs["message"]) > 4), rule(examples=8), cases(1, inputs={"message": "a b"})
    )
    (row,) = half
    assert row.value is not None and 0 < row.value < 1


def test_failed_answer_is_no_instability() -> None:
    """When the app gives no answer the row is an error with its reason, not a zero."""
    rows = measured(lambda call: failed("boom") if call.case == "c1" else "same", rule(), cases(3))
    assert [(row.case, row.status, row.value) for row in rows if row.status == "error"] == [("c1", "error", None)]


def test_answer_of_another_shape_is_unscored() -> None:
    """An answer without the field that is compared cannot be said to be stable, and ends no run."""
    rows = measured(lambda call: "order_status", rule(field="intent"), cases(2))
    said = "the output of the app has no field 'intent'"
    assert [(row.status, row.value, row.reason) for row in rows] == [("unscored", None, said)] * 2


def test_dialogue_s_last_message_is_rewritten() -> None:
    """Of a dialogue only the last message changes."""
    turns = [
        {"role": "user", "content": "a b"},
        {"role": "assistant", "content": "c d"},
        {"role": "user", "content": "e f"},
    ]
    given = [Case.model_validate({"id": "d", "messages": turns})]
    spec, seen = rule(), arm(lambda _: "same")
    asyncio.run(measure_property(spec, seen, rewrite_cases(spec, given, Path()), 1))
    asked: list[Call] = chain(seen).asked
    assert list(asked[0].messages) == turns
    assert [list(call.messages)[:2] for call in asked] == [turns[:2]] * 2
    assert asked[1].messages[2]["content"] != "e f" and asked[1].messages[2]["content"].split() == ["e", "f"]


def test_own_rewriting_of_the_suite(tmp_path: Path) -> None:
    """A suite may bring a rewriting; one that is missing or broken is a usage error that names it."""
    (tmp_path / "own.py").write_text(
        "from hypothesis import strategies as st\ndef polite(text):\n    return st.just(text + ' please')\n"
    )
    (item,) = rewrite_cases(rule("own.py:polite"), cases(1), tmp_path)
    assert item.text == "m0 please"
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    for name in ("own.py:rude", "none.py:polite", "polite", "broken.py:polite"):
        with pytest.raises(UsageError, match="transform"):
            rewriting(name, tmp_path)
