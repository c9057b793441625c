"""Fixtures over the tiny model."""

from __future__ import annotations

import pytest

from harness.serve.engine.tiny import tiny_engine, tiny_model, tiny_tokenizer
from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine
from tests.serve.helpers import Solo, generated_alone


@pytest.fixture(scope="session")
def solo() -> Solo:
    """The tiny model's greedy answers, computed by transformers one request at a time."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    return lambda request: generated_alone(model, tokenizer, request)


@pytest.fixture
def engine() -> TransformersEngine:
    """A fresh engine over the tiny model."""
    return tiny_engine(limits=EngineLimits(queue=1000))


@pytest.fixture
def small_engine() -> TransformersEngine:
    """An engine with three slots, pieces of 24 prompt tokens and room for 160 tokens of prompt beginnings."""
    return tiny_engine(limits=EngineLimits(slots=3, step_tokens=24, prefix_tokens=160))
