"""What the tests of the engine and the gateway share: the tiny model and ways to run requests through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from harness.serve.protocol import Decoding, Generation, GenerationRequest, Message, Output, TextOutput
from harness.serve.tiny import tiny_engine, tiny_model, tiny_tokenizer
from harness.serve.transformers_engine import EngineLimits, TransformersEngine

Run = Callable[[TransformersEngine, Sequence[GenerationRequest]], list[Generation]]
Solo = Callable[[GenerationRequest], str]


def ask(text: str, output: Output | None = None, **decoding: Any) -> GenerationRequest:
    """One user message."""
    return GenerationRequest((Message("user", text),), Decoding(**decoding), output or TextOutput())


def run_all(engine: TransformersEngine, requests: Sequence[GenerationRequest]) -> list[Generation]:
    """Admit all requests at once and step until every one is finished."""
    tickets = [engine.admit(request) for request in requests]
    found: dict[int, Generation] = {}
    while engine.busy:
        for event in engine.step():
            if event.error is not None:
                raise event.error
            if event.generation is not None:
                found[event.ticket] = event.generation
    return [found[ticket] for ticket in tickets]


def generated_alone(model: Any, tokenizer: Any, request: GenerationRequest) -> str:
    """What transformers' own greedy ``generate`` answers to one request on its own."""
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    out = model.generate(
        ids,
        max_new_tokens=request.decoding.max_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    answer: str = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return answer


@pytest.fixture(scope="session")
def solo() -> Solo:
    """The tiny model's greedy answers, computed by transformers one request at a time."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    return lambda request: generated_alone(model, tokenizer, request)


@pytest.fixture
def engine() -> TransformersEngine:
    """A fresh engine over the tiny model."""
    return tiny_engine()


@pytest.fixture
def small_engine() -> TransformersEngine:
    """An engine with three slots, pieces of 24 prompt tokens and room for 160 tokens of prompt beginnings."""
    return tiny_engine(limits=EngineLimits(slots=3, step_tokens=24, prefix_tokens=160))
