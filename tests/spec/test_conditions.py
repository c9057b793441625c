"""Conditions: what they may name, what they mean, and that nothing of them goes unnoticed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.spec.apps import AppInput
from harness.spec.conditions import ConditionError, Facts, holds, parsed, problems, reads, steps_in
from harness.spec.context import context_of

INPUTS = {"message": "user_message", "past": "history", "tier": "inputs", "items": "inputs"}
STEPS = ("triage", "reply")


@pytest.mark.parametrize(
    "text",
    [
        "inputs.tier == 'gold' and inputs['message'] | length > 3",
        "steps.triage.output.intent in ['refund', 'other'] or steps['reply'].status == 'ok'",
        "context.length > 200 and context.turns >= 2 and context.language != 'en'",
        "'vip' in inputs",
        "inputs.items == 'all'",
        "not inputs.tier",
    ],
)
def test_sound_conditions_have_no_problem(text: str) -> None:
    """Inputs, results of steps and facts may be read in every way that Jinja has."""
    assert problems(text, INPUTS, STEPS) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs.teir == 'gold'", "no input 'teir'; declared inputs: message, past, tier"),
        ("inputs[inputs.tier]", "no input name that is computed"),
        ("tier == 'gold'", "unknown name 'tier'; a condition knows inputs, steps, context; write inputs.tier"),
        ("range(3)", "unknown name 'range'"),
        ("steps.triag.output", "refers to step 'triag'; known steps: triage, reply"),
        ("steps.triage", "steps.triage is always true; write steps.triage.output"),
        ("steps.triage.tokens_in > 3", "steps.triage has no 'tokens_in' here; there are output and status"),
        ("'x' in steps", "the step must be named"),
        ("steps[inputs.tier].output", "the step must be named"),
        ("context.lang == 'en'", "context has no 'lang'; it has language, length, turns"),
        ("context", "context has no ''"),
        ("inputs.tier ==", "is not an expression"),
        ("inputs.tier | shout", "No filter named 'shout'"),
        ("[1, 2] | random == 1 and inputs.tier", "the filter 'random'"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    """A name that is not there, or a condition that cannot work, is said with what would be right."""
    assert said in "; ".join(problems(text, INPUTS, STEPS))


def test_all_mistakes_of_one_condition_are_said() -> None:
    """Nobody has to correct a condition name by name."""
    assert len(problems("inputs.a and inputs.b and c and steps.d.output and context.e", INPUTS, STEPS)) == 5


@pytest.mark.parametrize("fact", ["length", "language", "turns"])
def test_facts_need_the_input_they_are_told_from(fact: str) -> None:
    """Without an input that is filled from the chat a fact would be the same for every request."""
    assert "declare one" in problems(f"context.{fact} == 1", {"tier": "inputs"}, ())[0]


def test_steps_are_found_in_every_spelling() -> None:
    """The steps that a condition reads decide the order; a text that looks like one is none."""
    assert steps_in("steps.a.output or steps['b'].output[steps.c.output] == 'steps.d.output'") == {"a", "b", "c"}
    assert steps_in("steps.a.output ==") == frozenset()


def test_reads_finds_paths_inside() -> None:
    """What is read of a path is found, what only begins alike is not."""
    assert reads("context.language == 'en'", "context", "language")
    assert not reads("inputs.language == 'context.language'", "context", "language")


def test_blanks_and_quotes_do_not_make_another_condition() -> None:
    """Two spellings of one expression are the same condition, two expressions are not."""
    assert parsed("inputs.tier=='gold'") == parsed('inputs.tier  ==  "gold"')
    assert parsed("inputs.tier == 'gold'") != parsed("inputs.tier == 'silver'")


def scope(**inputs: Any) -> dict[str, Any]:
    """What a condition sees."""
    declared = {"message": AppInput.model_validate({"from": "user_message"})}
    return {"inputs": Facts(inputs), "steps": Facts({}), "context": context_of(declared, inputs)}


def test_input_named_like_a_method_is_the_input() -> None:
    """An input called ``items`` is not the mapping's own method of that name."""
    assert holds("inputs.items == 'all'", scope(items="all"))
    assert not holds("inputs.items == 'all'", scope(items="some"))


@pytest.mark.parametrize(
    "text", ["inputs.gone == 1", "inputs.tier > 3", "1 / inputs.zero > 0", "inputs.tier.__class__", "inputs.tier.x.y"]
)
def test_condition_that_fails_says_so(text: str) -> None:
    """A condition that cannot be computed is an error, never false."""
    with pytest.raises(ConditionError):
        holds(text, scope(tier="gold", zero=0))


def test_facts_of_a_request() -> None:
    """Length counts characters of the user's message, turns count what the user has written."""
    declared = {
        "message": AppInput.model_validate({"from": "user_message"}),
        "past": AppInput.model_validate({"from": "history"}),
    }
    past = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    first, later = context_of(declared, {"message": "äh?"}), context_of(declared, {"message": "", "past": past})
    assert (first.length, first.turns) == (3, 1)
    assert (later.length, later.turns) == (0, 2)
