"""Kept answers: which requests have one, that a hit is the answer, and that nothing else is ever kept."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from harness.errors import SignoffError
from tests.serve.bench import Bench
from tests.serve.gateways import HELLO, MODEL, events, post


@pytest.fixture
def bench() -> Bench:
    """A fresh one."""
    return Bench()


def states(client: TestClient, **body: Any) -> list[str | None]:
    """What the cache says of the same request, asked twice."""
    return [post(client, **body).headers.get("x-signoff-cache") for _ in range(2)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "m"}, ["miss", "hit"]),
        ({"model": "far"}, ["bypass", "bypass"]),
        ({"model": "m", "temperature": 1.0, "seed": 3}, ["miss", "hit"]),
        ({"model": "m", "temperature": 1.0}, ["bypass", "bypass"]),
        ({"model": "far", "temperature": 1.0, "seed": 3}, ["bypass", "bypass"]),
        ({"model": "echo"}, ["miss", "hit"]),
        ({"model": "echo", "seed": 3}, ["bypass", "bypass"]),
        ({"model": "plain"}, ["bypass", "bypass"]),
        ({"model": "echo", "signoff": {"trace": True}}, ["bypass", "bypass"]),
        ({"model": "echo", "temperature": 0.0}, ["miss", "hit"]),
    ],
    ids=str,
)
def test_only_certain_answers_are_kept(bench: Bench, body: dict[str, Any], expected: list[str]) -> None:
    """Greedy answers and seeded draws are kept if the model's bytes are known, those of apps if the app is sure."""
    with bench.client() as client:
        assert states(client, **body) == expected


def test_a_kept_answer_is_the_answer(bench: Bench) -> None:
    """A hit equals the first answer but for id and time, costs no tokens and asks no engine."""
    body = {"model": "m", "n": 2, "logprobs": True, "top_logprobs": 1}
    with bench.client() as client:
        first, second = post(client, **body).json(), post(client, **body).json()
    assert first["id"] != second["id"]
    for name in ("choices", "usage", "system_fingerprint"):
        assert first[name] == second[name]
    assert second["signoff"] == {"digest": MODEL, "latency_ms": 12.0}
    assert len(bench.engine.asked) == 2
    assert bench.purse.settled == [7 + 10, 0]


def test_a_kept_answer_is_streamed(bench: Bench) -> None:
    """What was answered whole is replayed as a stream, and what was streamed as a whole."""
    with bench.client() as client:
        whole = post(client, model="m").json()["choices"][0]["message"]["content"]
        replayed = post(client, model="m", stream=True, stream_options={"include_usage": True})
        assert replayed.headers["x-signoff-cache"] == "hit"
        _, text, last, usage, end = events(replayed.text)
        assert (text["choices"][0]["delta"]["content"], last["choices"][0]["finish_reason"]) == (whole, "stop")
        assert (usage["usage"]["completion_tokens"], end) == (5, "[DONE]")
        post(client, model="m", max_tokens=3, stream=True)
        assert post(client, model="m", max_tokens=3).headers["x-signoff-cache"] == "hit"
    assert len(bench.engine.asked) == 2


@pytest.mark.parametrize(
    "headers", [{"x-signoff-cache": "bypass"}, {"cache-control": "no-store"}, {"cache-control": "max-age=0, no-cache"}]
)
def test_a_fresh_answer_can_be_asked_for(bench: Bench, headers: dict[str, str]) -> None:
    """Who asks for it gets a computed answer, and is told so, also where nothing is ever kept."""
    with bench.client() as client:
        post(client, model="m")
        assert post(client, model="m", headers=headers).headers["x-signoff-cache"] == "bypass"
    assert len(bench.engine.asked) == 2
    with Bench(cache=False).client() as client:
        assert post(client, model="m", headers=headers).headers["x-signoff-cache"] == "bypass"
        assert "x-signoff-cache" not in post(client, model="m").headers


def test_what_decides_the_answer_decides_the_key(bench: Bench) -> None:
    """User and streaming do not matter; text, decoding, choices and the name's digest do. A greedy seed does not."""
    same = [{}, {"user": "a"}, {"stream": True}, {"seed": 9}, {"stop": None}, {"max_tokens": 256}, {"top_p": 1.0}]
    other = [
        {"model": "other"}, {"max_tokens": 4}, {"n": 2}, {"stop": "x"}, {"logprobs": True}, {"logit_bias": {"1": 1}},
        {"temperature": 1.0, "seed": 9}, {"temperature": 1.0, "seed": 8}, {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "system", "content": "hello"}]}, {"messages": [*HELLO, *HELLO]}, {"ignore_eos": True},
    ]  # fmt: skip
    with bench.client() as client:
        for body in (*same, *other):
            post(client, **{"model": "m", **body})
    assert len(bench.shelf.kept) == 1 + len(other)


def test_failures_are_not_kept(bench: Bench) -> None:
    """Neither an error nor a stream that broke is an answer."""
    bench.engine.failure = SignoffError("broken")
    with bench.client() as client:
        for stream in (False, True):
            post(client, model="m", stream=stream)
    assert bench.shelf.kept == {}


def test_an_entry_that_cannot_be_read_is_computed_again(bench: Bench) -> None:
    """An entry of another form is no answer, and no failure."""
    with bench.client() as client:
        post(client, model="m")
        for key in bench.shelf.kept:
            bench.shelf.kept[key] = b'{"choices": [{}]}'
        answer = post(client, model="m")
    assert (answer.status_code, answer.headers["x-signoff-cache"]) == (200, "miss")
