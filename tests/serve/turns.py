"""Finished requests for tests of what is told of them."""

from __future__ import annotations

from typing import Any

from harness.serve.gateway.served import Tokens
from harness.serve.gateway.turn import Principal, Turn

STEPS: dict[str, Any] = {
    "triage": {
        "kind": "llm",
        "output": {"intent": "refund", "of": "jane@example.com"},
        "status": "ok",
        "reason": "",
        "latency_ms": 200.0,
        "tokens_in": 60,
        "tokens_out": 12,
        "cached": False,
        "finish_reason": "stop",
        "prompt": "support/triage/1.2.0",
        "model": "smollm2-135m",
        "started": 1_700_000_000.1,
        "took_ms": 250.0,
    },
    "lookup": {"kind": "function", "output": {"order": 4711}, "status": "ok", "latency_ms": 3.0, "cached": True},
    "stock": {"kind": "http", "output": None, "status": "error", "reason": "no answer for jane@example.com"},
    "apology": {"kind": "llm", "output": None, "status": "skipped", "reason": "when: false"},
}


def finished(**changes: Any) -> Turn:
    """A streamed answer of the app ``support`` with four steps; ``changes`` are put over it."""
    turn = Turn(id="req-1", route="chat", principal=Principal("key-7"), received=1_700_000_000.0)
    known: dict[str, Any] = {
        "asked": "support",
        "app": "support",
        "arm": "candidate",
        "adapter": "triage/1.0.0",
        "digest": "sha256:abc",
        "stream": True,
        "user": "user-99",
        "response_id": "chatcmpl-req-1",
        "cache": "miss",
        "input": "I am jane@example.com, where is my parcel?",
        "output": "It is on its way, jane@example.com.",
        "steps": STEPS,
        "max_tokens": 64,
        "temperature": 0.5,
        "seed": 7,
        "tokens": Tokens(100, 21, 40),
        "finish_reason": "stop",
        "queue_s": 0.02,
        "first_s": 0.3,
        "total_s": 1.3,
    }
    for name, value in {**known, **changes}.items():
        setattr(turn, name, value)
    return turn
