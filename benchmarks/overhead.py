"""What Signoff itself costs: CPU, wall time and memory of ``signoff gate`` before a model that answers at once.

    python benchmarks/overhead.py --sizes 1000 5000 50000

A stub endpoint in a process of its own answers on loopback; a scratch repository has one app (one model step) and four
simple checks a case. Each size is gated twice: cold, then again from the generation cache. CPU and memory are those of
the ``signoff`` process and its children (wait4), without the stub's. CPU per case is what comes on top of one case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SIGNOFF = Path(__file__).resolve().parents[1]
ANSWER = "The parcel leaves our house on Monday."
HEADER = "| cases | run | CPU s | wall s | CPU ms/case | wall s beyond start-up | peak RSS MB | model calls | verdict |"

APP = """\
name: desk
inputs:
  message: {kind: string, from: user_message}
steps:
  - id: reply
    kind: llm
    model: stub
    prompt: desk/reply/1.0.0
    inputs: {message: inputs.message}
"""
MODEL = """\
name: stub
engine: openai
base_url: http://127.0.0.1:{port}/v1
model_id: stub
licence: none
context: 4096
"""
PROMPT = """\
---
name: reply
metadata: {version: 1.0.0}
inputs:
  message: {kind: string}
---
system:
You answer customers of a shop.
user:
{{ message }}
"""
SUITE = """\
concurrency: 32
slices:
  even: every second case
checks:
  - {id: right, check: normalised_match, expect: reply}
  - {id: names_day, check: contains, with: {text: Monday}}
  - {id: brief, check: length, with: {unit: words, maximum: 30}}
  - {id: ends, check: regex, with: {pattern: "\\\\.$"}}
"""
GATES = """\
gates:
  - {id: right, metric: right, rule: at_least, threshold: 0.001}
  - {id: names-day, metric: names_day, rule: at_least, threshold: 0.001}
  - {id: brief, metric: brief, rule: at_least, threshold: 0.001}
  - {id: ends-even, metric: ends, rule: at_least, threshold: 0.001, slice: even, required: false}
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of the command: CPU and wall in seconds, the largest resident set in MB (10^6 bytes)."""

    cpu: float
    wall: float
    rss: float
    calls: int
    verdict: str


class Stub(asyncio.Protocol):
    """Enough of HTTP/1.1 to answer chat completions on connections that stay open; GET gives the number answered."""

    answered = 0

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            if head.startswith(b"get"):
                self._transport.write(_response(str(Stub.answered).encode()))
            else:
                Stub.answered += 1
                self._transport.write(COMPLETION)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


COMPLETION = _response(
    json.dumps(
        {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 24, "completion_tokens": 9, "total_tokens": 33},
        }
    ).encode()
)


def serve_stub(ready: Connection) -> None:
    """Serve on a free port of loopback, which is sent through ``ready``, until the process is ended."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def write_repository(root: Path, port: int, cases: int) -> None:
    """One app with ``cases`` cases, each with a message of its own, so that none answers for another."""
    files = {
        "suites/desk/app.yaml": APP,
        "suites/desk/suite.yaml": SUITE,
        "suites/desk/gates.yaml": GATES,
        "prompts/desk/reply/1.0.0.prompty": PROMPT,
        "models/stub/model.yaml": MODEL.format(port=port),
        "suites/desk/cases/cases.jsonl": "".join(map(_case, range(cases))),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _case(number: int) -> str:
    row = {
        "id": f"case-{number:06}",
        "inputs": {"message": f"Hello, when does parcel {number:06} leave? I ordered it a week ago and heard nothing."},
        "expect": {"reply": ANSWER.lower()},
        "slices": ["even"] if number % 2 == 0 else [],
    }
    return json.dumps(row) + "\n"


def gate(root: Path, cache: Path) -> Cost:
    """Run ``signoff gate`` as a process of its own and read what it cost."""
    command = [sys.executable, "-m", "harness", "gate", "--root", str(root), "--json"]
    env = {**os.environ, "SIGNOFF_CACHE": str(cache), "PYTHONPATH": str(SIGNOFF), "OMP_NUM_THREADS": "1"}
    out = root / "out.json"
    with out.open("wb") as stream:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=stream, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    found = json.loads(out.read_bytes())
    if "error" in found:
        raise SystemExit(found["error"])
    # Linux counts ru_maxrss in KiB.
    cpu, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
    return Cost(cpu, wall, rss, found["model_calls"], found["verdict"])


def answered(port: int) -> int:
    """How many completions the stub has given."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        return int(answer.read())


def measure(port: int, cases: int, rounds: int) -> dict[str, Cost]:
    """A cold and a cached run of ``cases`` cases: of several rounds the one with the least CPU, the least disturbed."""
    found = [_measure(port, cases) for _ in range(rounds)]
    return {name: min((costs[name] for costs in found), key=lambda cost: cost.cpu) for name in found[0]}


def _measure(port: int, cases: int) -> dict[str, Cost]:
    with tempfile.TemporaryDirectory() as folder:
        root, cache, costs = Path(folder) / "repository", Path(folder) / "cache", {}
        write_repository(root, port, cases)
        for name in ("cold", "cached"):
            before = answered(port)
            cost = gate(root, cache)
            # What the run says of itself must be what the endpoint saw.
            if answered(port) - before != cost.calls:
                raise SystemExit(f"the run counts {cost.calls} model calls, the stub {answered(port) - before}")
            costs[name] = cost
    return costs


def report(port: int, sizes: Sequence[int], rounds: int) -> None:
    """Print the table, row by row as it becomes known."""
    print(HEADER)
    print("|---:|---|" + "---:|" * 6 + "---|")
    start: dict[str, Cost] = {}
    for cases in (1, *sizes):
        for name, cost in measure(port, cases, rounds).items():
            base = start.setdefault(name, cost)
            extra = ["", ""]
            if cases > 1:
                extra = [f"{1000 * (cost.cpu - base.cpu) / (cases - 1):.2f}", f"{cost.wall - base.wall:.2f}"]
            cells = [f"{cases:,}", name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}", *extra]
            cells += [f"{cost.rss:.0f}", f"{cost.calls:,}", cost.verdict]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 50_000], help="numbers of cases")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each size, of which the cheapest is shown")
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    stub = context.Process(target=serve_stub, args=(theirs,), daemon=True)
    stub.start()
    try:
        report(ours.recv(), args.sizes, args.rounds)
    finally:
        stub.terminate()


if __name__ == "__main__":
    main()
