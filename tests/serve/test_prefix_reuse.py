"""Prompt beginnings seen before are not computed again, and nobody can tell from the answers."""

from __future__ import annotations

from typing import Any

import pytest

from harness.serve.engine.kv_store import BLOCK, PrefixCache, block_keys
from harness.serve.engine.tiny import tiny_engine
from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine
from harness.serve.protocol import ChoiceOutput, GenerationRequest, Message
from tests.serve.helpers import Solo, ask, run_all

SYSTEM = Message("system", "You are a careful assistant of an online shop. Answer in one line. " * 3)


def _case(text: str, **decoding: Any) -> GenerationRequest:
    plain = ask(text, **decoding)
    return GenerationRequest((SYSTEM, *plain.messages), plain.decoding)


def test_reused_beginnings_answer_as_computed_ones(engine: TransformersEngine, solo: Solo) -> None:
    """With warm and cold state, greedy answers equal transformers' own."""
    requests = [_case(f"question {index}", max_tokens=12) for index in range(12)]
    expected = [solo(request) for request in requests]
    cold = run_all(engine, requests[:1])
    warm = run_all(engine, requests)
    assert cold[0].text == expected[0]
    assert [found.text for found in warm] == expected
    assert all(found.cached_prompt_tokens >= 200 for found in warm)


def test_requests_that_arrive_together_share_too(engine: TransformersEngine) -> None:
    """Of many requests with one beginning that arrive at once, one computes it and the others wait for that."""
    found = run_all(engine, [_case(f"question {index}", max_tokens=2) for index in range(10)])
    assert found[0].cached_prompt_tokens == 0
    assert all(later.cached_prompt_tokens >= 200 for later in found[1:])


def test_scores_do_not_depend_on_reuse() -> None:
    """Choice scores agree between an engine that keeps beginnings and one that keeps none."""
    requests = [
        GenerationRequest((SYSTEM, Message("user", f"case {index}")), output=ChoiceOutput(("yes", "no", "maybe")))
        for index in range(6)
    ]
    keeping, forgetting = tiny_engine(), tiny_engine(limits=EngineLimits(prefix_tokens=0))
    run_all(keeping, requests)
    for warm, cold in zip(run_all(keeping, requests), run_all(forgetting, requests), strict=True):
        assert warm.cached_prompt_tokens > 0
        assert cold.cached_prompt_tokens == 0
        assert warm.scores == pytest.approx(cold.scores, abs=1e-4)


def test_a_whole_prompt_seen_before_still_computes_its_end(engine: TransformersEngine) -> None:
    """A repeated prompt whose length is a multiple of the block reuses all but its last block."""
    spare = engine.admit(engine.prepare(ask("x")))
    engine.cancel(spare)
    (probe,) = run_all(engine, [ask("", max_tokens=1)])
    text = "x" * (-probe.prompt_tokens % BLOCK + BLOCK)
    first, second = (run_all(engine, [ask(text, max_tokens=6)])[0] for _ in range(2))
    assert first.prompt_tokens % BLOCK == 0
    assert second.cached_prompt_tokens == first.prompt_tokens - BLOCK
    assert second.text == first.text


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    """Beyond its size the cache drops the block that was used longest ago."""
    import torch

    cache = PrefixCache(3 * BLOCK)
    blocks = {name: torch.zeros(1) for name in (b"a", b"b", b"c", b"d")}
    for name in (b"a", b"b", b"c"):
        cache.add(name, blocks[name])
    list(cache.matching([b"a"]))
    cache.add(b"d", blocks[b"d"])
    assert [name in cache for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_keys_tell_adapters_and_beginnings_apart() -> None:
    """A block's key depends on the adapter and on everything before the block."""
    tokens = list(range(3 * BLOCK + 5))
    keys = block_keys(None, tokens)
    assert len(keys) == 3
    assert block_keys(None, tokens[: 2 * BLOCK]) == keys[:2]
    assert set(keys).isdisjoint(block_keys("adapter", tokens))
    assert block_keys(None, [99, *tokens[1:]])[2] != keys[2]
