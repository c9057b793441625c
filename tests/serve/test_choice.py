"""Choices are ranked by what the model really says of each option."""

from __future__ import annotations

import math

import pytest

from harness.serve.engine.option_tree import option_tree
from harness.serve.engine.tiny import tiny_model, tiny_tokenizer
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import ChoiceOutput, RequestError
from tests.serve.helpers import ask, run_all

LONG = ("yes", "no", "yes sir", "not at all", "y")


def _by_hand(text: str, options: tuple[str, ...], end: bool) -> dict[str, float]:
    """Total log-probability of each option after the prompt, one full forward pass each, normalised."""
    import torch

    model, tokenizer = tiny_model(), tiny_tokenizer()
    turns = [{"role": "user", "content": text}]
    prompt = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))["input_ids"]
    totals = {}
    for option in options:
        ids = tokenizer(option)["input_ids"] + ([tokenizer.eos_token_id] if end else [])
        with torch.inference_mode():
            rows = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        totals[option] = sum(float(rows[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
    norm = math.log(sum(math.exp(total) for total in totals.values()))
    return {option: total - norm for option, total in totals.items()}


@pytest.mark.parametrize("text", ["hi", "is it so? " * 30])
def test_scores_equal_a_computation_by_hand(engine: TransformersEngine, text: str) -> None:
    """Scores are the total log-probabilities with the end of turn, also for options that begin one another."""
    (found,) = run_all(engine, [ask(text, ChoiceOutput(LONG))])
    expected = _by_hand(text, LONG, end=True)
    assert found.scores == pytest.approx(expected, abs=1e-4)
    assert found.text == max(expected, key=lambda option: expected[option])


def test_single_tokens_are_scored_without_the_end(engine: TransformersEngine) -> None:
    """Options of one token each are ranked by the next token alone."""
    (found,) = run_all(engine, [ask("hi", ChoiceOutput(("a", "b", "c")))])
    assert found.scores == pytest.approx(_by_hand("hi", ("a", "b", "c"), end=False), abs=1e-4)


def test_scores_are_a_distribution(engine: TransformersEngine) -> None:
    """The options' probabilities add up to one."""
    (found,) = run_all(engine, [ask("hi", ChoiceOutput(LONG))])
    assert found.scores is not None
    assert sum(math.exp(score) for score in found.scores.values()) == pytest.approx(1.0)


def test_company_does_not_change_scores(small_engine: TransformersEngine, engine: TransformersEngine) -> None:
    """A choice among running texts, with its prompt fed in pieces, scores as alone."""
    choice = ask("which one " * 12, ChoiceOutput(LONG))
    crowd = [ask("hello " * count, max_tokens=9) for count in range(1, 8)]
    alone = run_all(engine, [choice])[0]
    among = run_all(small_engine, [*crowd[:3], choice, *crowd[3:]])[3]
    assert among.text == alone.text
    assert among.scores == pytest.approx(alone.scores, abs=1e-4)


def test_one_pass_scores_all_options(engine: TransformersEngine) -> None:
    """A choice takes one step, whatever the number and length of its options."""
    engine.admit(engine.prepare(ask("hi", ChoiceOutput(tuple(f"option number {index}" for index in range(20))))))
    (event,) = engine.step()
    assert event.generation is not None
    assert not engine.busy


def test_shared_beginnings_are_fed_once() -> None:
    """The tree feeds common beginnings once and never the last token of an option."""
    tree = option_tree(("ab", "ac", "a"), [[1, 2], [1, 3], [1]], end_of_turn=9)
    assert tree.tokens == (1, 2, 3)
    assert tree.parents == (-1, 0, 0)
    assert tree.depths == (0, 1, 1)
    assert tree.mask().tolist() == [[True, False, False], [True, True, False], [True, False, True]]
    assert tree.paths == (((-1, 1), (0, 2), (1, 9)), ((-1, 1), (0, 3), (2, 9)), ((-1, 1), (0, 9)))


@pytest.mark.parametrize(
    ("options", "complaint"), [(("a",), "at least two"), (("a", ""), "empty"), (("a", "b", "a"), "more than once")]
)
def test_useless_options_are_refused(options: tuple[str, ...], complaint: str) -> None:
    """A choice that decides nothing is refused with the reason."""
    with pytest.raises(RequestError, match=complaint):
        ChoiceOutput(options)


def test_options_with_the_same_tokens_are_refused() -> None:
    """Two spellings that the tokenizer cannot tell apart are refused by name."""
    with pytest.raises(RequestError, match="'A' and 'a'"):
        option_tree(("A", "a"), [[1], [1]], end_of_turn=9)
