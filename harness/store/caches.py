"""Generation and score caches, and the keys under which their entries lie."""

from __future__ import annotations

from typing import Any

from harness.store.digests import digest_of
from harness.store.keyvalue import KeyValueCache

GENERATION_FIELDS = (
    "model",
    "tokenizer_template",
    "adapter",
    "engine",
    "engine_version",
    "dtype",
    "cpu",
    "messages",
    "decoding",
    "output",
    "seed",
    "repeat",
)
_FIELDS = frozenset(GENERATION_FIELDS)


class GenerationCache(KeyValueCache):
    """Answers of models, under ``generation_key``.

    The caller encodes the value, and puts into it what the answer cost when it was made (latency in milliseconds,
    tokens in and out): a cached answer still has to say so.
    """


class ScoreCache(KeyValueCache):
    """Scores of costly checks, under ``score_key``; the caller encodes the value, and why one is unscored."""


def generation_key(**fields: Any) -> str:
    """The key of one generation, from exactly ``GENERATION_FIELDS``; TypeError names what is missing or unknown."""
    if fields.keys() != _FIELDS:
        missing, unknown = sorted(_FIELDS - fields.keys()), sorted(fields.keys() - _FIELDS)
        message = f"a generation key has the fields {GENERATION_FIELDS}; missing {missing}, unknown {unknown}"
        raise TypeError(message)
    return digest_of(fields)


def score_key(*, check: str, code_version: str, output: str, expect: str, judge: str = "") -> str:
    """The key of one score: digests of the check's configuration, the output, the expectation and the judge."""
    return digest_of({"check": check, "code": code_version, "output": output, "expect": expect, "judge": judge})
