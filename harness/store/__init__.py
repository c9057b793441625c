"""Digests, sources, caches and run folders."""

from harness.store.caches import GENERATION_FIELDS, GenerationCache, ScoreCache, generation_key, score_key
from harness.store.converted import convert_once
from harness.store.digests import canonical, digest_bytes, digest_file, digest_of, lf_text, seed_for, short
from harness.store.files import cache_home, write_atomic
from harness.store.keyvalue import KeyValueCache
from harness.store.lines import JsonLines, read_lines
from harness.store.runs import RunFolder, open_run
from harness.store.sources import Source, fetch, parse_source

__all__ = [
    "GENERATION_FIELDS",
    "GenerationCache",
    "JsonLines",
    "KeyValueCache",
    "RunFolder",
    "ScoreCache",
    "Source",
    "cache_home",
    "canonical",
    "convert_once",
    "digest_bytes",
    "digest_file",
    "digest_of",
    "fetch",
    "generation_key",
    "lf_text",
    "open_run",
    "parse_source",
    "read_lines",
    "score_key",
    "seed_for",
    "short",
    "write_atomic",
]
