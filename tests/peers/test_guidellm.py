"""guidellm, unmodified, against ``signoff serve``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.serve.engine.tiny import save_tiny
from tests.peers import programs
from tests.peers.clients import gateway

pytestmark = pytest.mark.peer
COUNT = 12


def benchmark(folder: Path, url: str, model: str, profile: str, data: str, **backend: Any) -> dict[str, Any]:
    """The metrics that guidellm wrote."""
    tokenizer = save_tiny(folder / "tokenizer")
    target = orjson.dumps({"kind": "openai_http", "target": url, "model": model, **backend}).decode()
    done = subprocess.run(
        [str(programs.guidellm() / "bin" / "guidellm"), "run", "--backend", target, "--profile", profile,
         "--constraint", f"kind=max_requests,count={COUNT}", "--data", data,
         "--tokenizer", f"kind=huggingface_auto,model={tokenizer}", "--output", "kind=json,path=report.json",
         "--disable-console"],
        cwd=folder, env=programs.environment(folder / "home"), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (folder / "report.json").is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = orjson.loads((folder / "report.json").read_bytes())["benchmarks"]
    metrics: dict[str, Any] = found["metrics"]
    return metrics


def questions(folder: Path) -> str:
    """A data set of the test's own."""
    lines = [orjson.dumps({"prompt": f"Where is parcel number {number}?"}) for number in range(COUNT)]
    (folder / "questions.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return "kind=json_file,path=questions.jsonl"


@pytest.mark.parametrize("model", ["tiny", "desk"])
def test_guidellm_measures_streams(tmp_path: Path, model: str) -> None:
    """Every request succeeds, tokens are counted by our usage, and a first token is seen before the last."""
    with gateway(tmp_path) as served:
        found = benchmark(tmp_path, served.url, model, "kind=concurrent,streams=3", questions(tmp_path), max_tokens=12)
    assert found["request_totals"] == {"successful": COUNT, "errored": 0, "incomplete": 0, "total": COUNT}
    assert found["output_token_count"]["successful"]["max"] <= 12
    assert found["prompt_token_count"]["successful"]["min"] > 20
    assert found["time_to_first_token_ms"]["successful"]["count"] == COUNT


def test_guidellm_with_made_up_prompts(tmp_path: Path) -> None:
    """Open-loop arrivals with synthetic text."""
    with gateway(tmp_path) as served:
        data, as_it_comes = "kind=synthetic_text,prompt_tokens=24,output_tokens=8", {"body": {"ignore_eos": False}}
        found = benchmark(tmp_path, served.url, "tiny", "kind=constant,rate=8", data, extras=as_it_comes)
    assert found["request_totals"]["successful"] == COUNT
    assert found["output_token_count"]["successful"]["max"] == 8
