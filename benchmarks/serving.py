"""The engine and the gateway beside ``transformers serve``, on the shipped model, in one run.

    python benchmarks/serving.py                     # all parts, about twenty minutes on two cores
    python benchmarks/serving.py --only adapters     # one of: servers, adapters, prefix, settings
    python benchmarks/serving.py --rounds 3 --json out.json

Every part compares alternatives in turn, round by round, so that a busy machine hits all of them alike; ratios are of
medians over the rounds. Tokens are those that the servers' own usage counts; time to first token is the first
non-empty piece of text after the request was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from harness.serve import LocalServer
from harness.serve.engine.hub import model_folder
from harness.serve.engine.loader import load_transformers
from harness.serve.engine.transformers_engine import EngineLimits, TransformersEngine
from harness.serve.protocol import Decoding, GenerationRequest, Message
from harness.spec.repository import load_repository
from harness.store import cache_home

ROOT = Path(__file__).parents[1]
APP, MODEL = "support", "smollm2-135m"
SENTENCE = (
    "the parcel came late and one plate was broken so I would like to know whether a new one can be sent to my "
    "sister instead of the refund that your colleague promised on the phone last Tuesday before the holidays"
)
WORDS = SENTENCE.split()


def text_of(rng: random.Random, words: int) -> str:
    """Some words in random order: no two prompts begin alike."""
    return " ".join(rng.choice(WORDS) for _ in range(words))


def mixed_requests(seed: int, count: int) -> list[tuple[str, int]]:
    """Prompts of 10 to 250 words with 8 to 96 tokens of answer allowed."""
    rng = random.Random(seed)
    return [(text_of(rng, rng.randint(10, 250)), rng.randint(8, 96)) for _ in range(count)]


# -- servers --------------------------------------------------------------------------------------------------------


async def _one(session: aiohttp.ClientSession, url: str, model: str, prompt: str, limit: int) -> tuple[int, float]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": limit,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started, first, tokens = time.perf_counter(), None, 0
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            choices = event.get("choices") or []
            if first is None and choices and (choices[0].get("delta") or {}).get("content"):
                first = time.perf_counter() - started
            tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
    return tokens, first if first is not None else time.perf_counter() - started


async def drive(url: str, model: str, requests: Sequence[tuple[str, int]], at_once: int) -> dict[str, float]:
    """``at_once`` clients working through ``requests``: tokens a second and the median time to first token."""
    waiting = list(requests)
    done: list[tuple[int, float]] = []
    timeout = aiohttp.ClientTimeout(total=3600)

    async def client(session: aiohttp.ClientSession) -> None:
        while waiting:
            done.append(await _one(session, url, model, *waiting.pop(0)))

    async with aiohttp.ClientSession(timeout=timeout) as session:
        started = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(at_once)))
        took = time.perf_counter() - started
    tokens = sum(count for count, _ in done)
    return {"tokens_s": tokens / took, "first_s": median(first for _, first in done), "tokens": tokens, "s": took}


@contextmanager
def signoff_server(log: Path) -> Iterator[tuple[str, str]]:
    """Our gateway, as a run of the gate starts it."""
    args = {"root": str(ROOT), "cache": str(cache_home()), "apps": [APP]}
    with LocalServer("harness.serve.service:build_gateway", args, log=log) as server:
        yield server.url, MODEL


@contextmanager
def transformers_server(folder: Path, log: Path, *flags: str) -> Iterator[tuple[str, str]]:
    """``transformers serve`` on the same bytes and with the same number of threads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port), *flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment["OMP_NUM_THREADS"] = os.environ.get("SIGNOFF_THREADS", str(len(os.sched_getaffinity(0))))
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_until_up(port, child, log)
            yield f"http://127.0.0.1:{port}", str(folder)
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_until_up(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if child.poll() is not None:
            raise SystemExit(f"transformers serve ended: {log.read_text(errors='replace')[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.25)
    raise SystemExit("transformers serve did not come up in 150 s")


def servers(rounds: int, at_once: int, folder: Path, scratch: Path) -> dict[str, Any]:
    """Concurrent mixed-length requests against three servers, one after the other in every round."""
    cb = ("--continuous-batching", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "512")
    cb = (*cb, "--attn-implementation", "sdpa")
    makers: dict[str, Callable[[], Any]] = {
        "signoff serve": lambda: signoff_server(scratch / "signoff.log"),
        "transformers serve": lambda: transformers_server(folder, scratch / "sequential.log"),
        "transformers serve --continuous-batching": lambda: transformers_server(folder, scratch / "cb.log", *cb),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in makers}
    for number in range(rounds):
        requests = mixed_requests(number, 2 * at_once)
        for name, make in makers.items():
            with make() as (url, model):
                asyncio.run(drive(url, model, [("Hello.", 4)] * at_once, at_once))
                found[name].append(asyncio.run(drive(url, model, requests, at_once)))
                print(f"  round {number + 1}, {name}: {found[name][-1]}", file=sys.stderr)
    return {name: _medians(rows) for name, rows in found.items()}


# -- engine ---------------------------------------------------------------------------------------------------------


def run_engine(engine: TransformersEngine, requests: Sequence[GenerationRequest]) -> dict[str, float]:
    """All requests at once: tokens a second."""
    for request in requests:
        engine.admit(engine.prepare(request))
    started, tokens = time.perf_counter(), 0
    while engine.busy:
        for event in engine.step():
            if event.generation is not None:
                tokens += event.generation.completion_tokens
    took = time.perf_counter() - started
    return {"tokens_s": tokens / took, "tokens": tokens, "s": took}


def asked(prompt: str, limit: int, adapter: str | None = None) -> GenerationRequest:
    """A greedy request that always runs to its limit: both sides of a comparison write equally many tokens."""
    return GenerationRequest(
        (Message("user", prompt),), Decoding(max_tokens=limit, logit_bias=ENDLESS), adapter=adapter
    )


ENDLESS = ((2, -100.0), (0, -100.0))
"""The end-of-turn tokens of the shipped model, forbidden."""


def save_adapters(folder: Path, out: Path) -> dict[str, Path]:
    """Two adapters of rank 8 on every linear layer, with small random weights, as PEFT writes them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = {}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
        for parameter, weight in model.named_parameters():
            if "lora_B" in parameter:
                torch.nn.init.normal_(weight, std=0.01)
        model.save_pretrained(str(out / name))
        made[name] = out / name
    return made


def adapters(rounds: int, at_once: int, folder: Path, scratch: Path) -> dict[str, Any]:
    """Base and two adapters mixed in one batch, beside the base alone."""
    engine = load_transformers(folder, limits=EngineLimits(prefix_tokens=0))
    for name, path in save_adapters(folder, scratch).items():
        engine.load_adapter(name, path)
    found: dict[str, list[dict[str, float]]] = {"base only": [], "base and two adapters": [], "one adapter": []}
    uses: Mapping[str, Sequence[str | None]] = {
        "base only": [None],
        "base and two adapters": [None, "one", "two"],
        "one adapter": ["one"],
    }
    for number in range(rounds):
        plain = mixed_requests(number, at_once)
        for label, names in uses.items():
            requests = [asked(*pair, adapter=names[at % len(names)]) for at, pair in enumerate(plain)]
            found[label].append(run_engine(engine, requests))
    return {label: _medians(rows) for label, rows in found.items()}


def prefix(rounds: int, at_once: int, folder: Path, _: Path) -> dict[str, Any]:
    """A shared beginning of about 300 tokens and answers of 20, with and without keeping what was computed."""
    engines = {
        "beginnings reused": load_transformers(folder),
        "computed each time": load_transformers(folder, limits=EngineLimits(prefix_tokens=0)),
    }
    found: dict[str, list[dict[str, float]]] = {label: [] for label in engines}
    for number in range(rounds):
        rng = random.Random(number)
        shared = text_of(rng, 245)
        requests = [asked(f"{shared} {text_of(rng, 12)}", 20) for _ in range(2 * at_once)]
        for label, engine in engines.items():
            found[label].append(run_engine(engine, requests))
    return {label: _medians(rows) for label, rows in found.items()}


WAITING: Mapping[str, Mapping[str, str]] = {
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE"},
    "after 1,000 spins sleeping": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE"},
}
SETTINGS = [
    ("float32", "1", "sleeping"),
    *(("float32", "2", waiting) for waiting in WAITING),
    ("bfloat16", "1", "sleeping"),
    ("bfloat16", "2", "sleeping"),
]


def settings(rounds: int, at_once: int, folder: Path, _: Path) -> dict[str, Any]:
    """float32 and bfloat16, one and two threads, idle threads that sleep or spin: each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for dtype, threads, waiting in SETTINGS:
            label = f"{dtype}, 1 thread" if threads == "1" else f"{dtype}, {threads} threads, {waiting}"
            environment = {**os.environ, "SIGNOFF_THREADS": threads, **WAITING[waiting]}
            command = [sys.executable, __file__, "--child", dtype, str(number), str(at_once), str(folder)]
            out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
            found.setdefault(label, []).append(json.loads(out.splitlines()[-1]))
    return {label: _medians(rows) for label, rows in found.items()}


def child(dtype: Any, seed: int, at_once: int, folder: Path) -> None:
    """One row of ``settings``."""
    engine = load_transformers(folder, dtype, limits=EngineLimits(prefix_tokens=0))
    run_engine(engine, [asked("Hello.", 4)])
    print(json.dumps(run_engine(engine, [asked(*pair) for pair in mixed_requests(seed, at_once)])))


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(median(row[name] for row in rows), 3) for name in rows[0]}


PARTS = {"servers": servers, "adapters": adapters, "prefix": prefix, "settings": settings}


def main() -> None:
    """Run the parts and print each as a table, the first row being 1.00."""
    if sys.argv[1:2] == ["--child"]:
        dtype, seed, at_once, folder = sys.argv[2:]
        child(dtype, int(seed), int(at_once), Path(folder))
        return
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=sorted(PARTS), action="append")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--at-once", type=int, default=16, help="concurrent requests (default: 16)")
    options.add_argument("--json", type=Path, help="also write the figures here")
    args = options.parse_args()
    model = load_repository(ROOT, with_suites=False, only=[APP]).apps[APP].models[MODEL]
    folder = model_folder(model, ROOT, cache_home())
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.only or PARTS:
            print(f"{name}: {PARTS[name].__doc__}")
            found[name] = PARTS[name](args.rounds, args.at_once, folder, Path(scratch))
            first = next(iter(found[name].values()))["tokens_s"]
            for label, row in found[name].items():
                shown = ", ".join(f"{key} {value:g}" for key, value in row.items())
                print(f"  {label:<44} {row['tokens_s'] / first:5.2f}   {shown}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
