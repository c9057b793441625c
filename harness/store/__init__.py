"""Digests, sources, caches and run folders."""

from harness.store.caches import GenerationCache, KeyValueCache, ScoreCache, generation_key, score_key
from harness.store.converted import convert_once
from harness.store.digests import canonical, digest_bytes, digest_file, digest_of, seed_for, short
from harness.store.files import cache_home, write_atomic
from harness.store.runs import JsonLines, RunFolder, open_run
from harness.store.sources import Source, fetch, parse_source

__all__ = [
    "GenerationCache", "JsonLines", "KeyValueCache", "RunFolder", "ScoreCache", "Source", "cache_home", "canonical",
    "convert_once", "digest_bytes", "digest_file", "digest_of", "fetch", "generation_key", "open_run", "parse_source",
    "score_key", "seed_for", "short", "write_atomic",
]
