"""TEMPORARY minimal checks."""
from __future__ import annotations
import importlib.util
from collections.abc import Mapping, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from harness.errors import UsageError
from harness.store import digest_of, digest_bytes

@dataclass(frozen=True, slots=True)
class Subject:
    output: str; parsed: Any; expect: Any; inputs: Mapping[str, Any]; latency_ms: float; tokens_in: int; tokens_out: int; cached: bool; steps: Mapping[str, Any]
@dataclass(frozen=True, slots=True)
class Score:
    value: float | None; reason: str = ""; metric: str = ""; unit: str = ""
@dataclass(frozen=True, slots=True)
class Check:
    id: str; run: Callable[[Subject], Any]; unit: str; digest: str
def build_check(name: str, settings: Mapping[str, Any], *, suite_dir: Path) -> Check:
    if name == "label_match": f = lambda s: Score(float(s.output == s.expect), f"{s.output}")
    elif name == "field_match": f = lambda s: Score(float(s.parsed.get(settings["path"][2:]) == s.expect))
    elif name == "not_contains": f = lambda s: Score(float(settings["text"] not in s.output))
    elif name == "length": f = lambda s: Score(float(settings["minimum"] <= len(s.output.split()) <= settings["maximum"]))
    elif name == "json_schema": f = lambda s: Score(1.0)
    elif name == "rouge":
        from rouge_score.rouge_scorer import RougeScorer
        r = RougeScorer(["rouge1"]); f = lambda s: Score(r.score(s.expect, s.output)["rouge1"].recall)
    elif name == "python":
        file, fn = settings["function"].split(":"); spec = importlib.util.spec_from_file_location("x" + file[:-3], suite_dir / file); m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m); g = getattr(m, fn)
        f = lambda s: Score(float(g(s)))
    else: raise UsageError(f"no check {name!r}")
    return Check(name, f, "share", digest_of([name, dict(settings)]))
