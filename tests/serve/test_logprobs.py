"""Log-probabilities are the model's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness.serve.engine.tiny import PAD, START, tiny_model, tiny_tokenizer
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.protocol import ChoiceOutput, Delta, JsonOutput, RequestError
from tests.serve.helpers import ask, continuing, run_all


def test_they_are_those_of_one_forward_pass(engine: TransformersEngine) -> None:
    """Each drawn token has the log-probability that the bare model gives it, and so have the alternatives."""
    request = replace(continuing("hello", max_tokens=6, temperature=1.5, seed=3), logprobs=4)
    others = [ask("x" * count, max_tokens=9) for count in range(1, 5)]
    found, *_ = run_all(engine, [request, *others])
    assert found.logprobs is not None
    assert len(found.logprobs) == 6
    ids = tiny_tokenizer()("hello").input_ids
    for told in found.logprobs:
        with torch.inference_mode():
            truth = tiny_model()(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        token = next(number for number in range(259) if engine._grammars().data_of(number) == told.data)
        assert told.logprob == pytest.approx(float(truth[token]), abs=1e-4)
        assert [value for _, _, value in told.top] == pytest.approx(truth.topk(4).values.tolist(), abs=1e-4)
        ids.append(token)


def test_a_stream_tells_each_token_once(engine: TransformersEngine) -> None:
    """The tokens of the pieces are those of the whole, also where a piece has no text yet."""
    ticket = engine.admit(engine.prepare(replace(ask("hi", max_tokens=30), logprobs=0)))
    pieces: list[Delta] = []
    while engine.busy:
        for event in engine.step():
            assert event.ticket == ticket
            pieces += [event.delta] if event.delta else []
            whole = event.generation
    assert whole is not None and whole.logprobs is not None
    assert tuple(told for piece in pieces for told in piece.logprobs) == whole.logprobs
    spelled = b"".join(told.data for told in whole.logprobs if told.text not in (START, PAD))
    assert spelled.decode(errors="replace") == whole.text
    assert all(told.top == () for told in whole.logprobs)


def test_nobody_who_did_not_ask_gets_any(engine: TransformersEngine) -> None:
    """Without the field there are none."""
    (found,) = run_all(engine, [ask("hi", max_tokens=3)])
    assert found.logprobs is None


def test_under_a_grammar_they_are_the_models_own(engine: TransformersEngine) -> None:
    """A grammar restricts the draw and not the log-probability that is told."""
    (found,) = run_all(engine, [replace(ask("go", JsonOutput({"type": "integer"}), max_tokens=4), logprobs=2)])
    assert found.logprobs is not None
    assert found.logprobs[0].logprob < found.logprobs[0].top[0][2]


def test_a_choice_has_scores_instead(engine: TransformersEngine) -> None:
    """Asking a choice for log-probabilities is an error that says so."""
    with pytest.raises(RequestError, match="scores its options already"):
        engine.prepare(replace(ask("hi", ChoiceOutput(("a", "b"))), logprobs=1))


def test_a_bias_moves_the_draw(engine: TransformersEngine) -> None:
    """A bias of 100 forces a token, one of -100 forbids it, and a token outside the vocabulary is refused."""
    (free,) = run_all(engine, [ask("hi", max_tokens=1)])
    first = tiny_tokenizer()(free.text).input_ids[0]
    (banned,) = run_all(engine, [ask("hi", max_tokens=1, logit_bias=((first, -100.0),))])
    assert banned.text != free.text
    (forced,) = run_all(engine, [ask("hi", max_tokens=5, logit_bias=((66, 100.0),))])
    assert set(forced.text) == {tiny_tokenizer().decode([66])}
    with pytest.raises(RequestError, match="259") as refused:
        engine.prepare(ask("hi", logit_bias=((259, 1.0),)))
    assert refused.value.param == "logit_bias"
