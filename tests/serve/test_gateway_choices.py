"""Several choices, raw prompts, log-probabilities and counted tokens, in both of OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from harness.serve.gateway.routes import create_app
from harness.serve.gateway.sampled import seed_of
from harness.serve.gateway.served import LoadedModel
from harness.serve.protocol import RequestError, TokenLogprob
from tests.serve.gateways import MODEL, Echo, Spelling, StreamingEcho, events, post

COMPLETIONS = "/v1/completions"


@pytest.fixture
def engine() -> Spelling:
    """A fresh engine."""
    return Spelling()


@pytest.fixture
def client(engine: Spelling) -> Iterator[TestClient]:
    """A gateway over the engine and two apps."""
    models = {
        "m": LoadedModel("m", MODEL, engine),
        "far": LoadedModel("far", MODEL, engine, pinned=False),
        "tuned": LoadedModel("tuned", "b" * 64, engine, parent="m", adapter="b" * 64),
    }
    with TestClient(create_app(models, {"echo": Echo(), "flow": StreamingEcho("flow")})) as client:
        yield client


def test_choices_have_seeds_of_their_own(client: TestClient, engine: Spelling) -> None:
    """The first choice has the seed itself, so that asking for more never changes it; the others have hashes of it."""
    body = post(client, model="m", n=3, seed=5, temperature=1.0).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    seeds = [request.decoding.seed for request in engine.asked]
    assert sorted(seeds) == sorted([5, seed_of(5, 1), seed_of(5, 2)])
    assert len(set(seeds)) == 3
    assert body["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 15, "total_tokens": 22, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


def test_draws_without_a_seed_differ(client: TestClient, engine: Spelling) -> None:
    """Who asks for chance without a seed gets another draw each time; greedy answers need none."""
    for _ in range(4):
        post(client, model="m", temperature=1.0)
    assert len({request.decoding.seed for request in engine.asked}) == 4
    engine.asked.clear()
    post(client, model="m")
    assert engine.asked[0].decoding.seed == 0


def test_streamed_choices_are_told_apart(client: TestClient) -> None:
    """Pieces of several choices come mixed, each with its index, role first and reason last; usage sums."""
    answer = post(client, model="m", n=2, stream=True, stream_options={"include_usage": True})
    *chunks, usage, end = events(answer.text)
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in own) == "hello"
        assert [choice["finish_reason"] for choice in own] == [None] * 6 + ["stop"]
    assert [chunk["choices"][0]["index"] for chunk in chunks[:6]] != [0] * 6
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (7, 10)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert chunks[-1]["signoff"]["digest"] == MODEL
    assert end == "[DONE]"


def test_one_broken_choice_ends_the_answer(client: TestClient, engine: Spelling) -> None:
    """When a choice fails the others stop too, and the failure is the answer."""
    engine.failure = RequestError("too long", "max_tokens")
    answer = post(client, model="m", n=4)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "max_tokens")
    assert engine.open == 0


def test_an_app_gives_several_choices(client: TestClient) -> None:
    """An app is run once for each choice, also when it streams."""
    body = post(client, model="echo", n=2).json()
    assert [choice["message"]["content"] for choice in body["choices"]] == ["echo hello"] * 2
    assert body["usage"]["total_tokens"] == 10
    chunks = [chunk["choices"][0] for chunk in events(post(client, model="flow", n=2, stream=True).text)[:-1]]
    for index in (0, 1):
        own = [choice for choice in chunks if choice["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "one two"


def test_raw_prompts_are_continued(client: TestClient, engine: Spelling) -> None:
    """Each prompt is answered n times, all choices of the first before those of the second."""
    body = post(client, COMPLETIONS, model="m", prompt=["ab", "xyz"], n=2, max_tokens=2).json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [
        (0, "ab"), (1, "ab"), (2, "xy"), (3, "xy"),
    ]  # fmt: skip
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (14, 8)
    assert all(request.messages == () for request in engine.asked)


def test_a_completion_streams(client: TestClient) -> None:
    """Chunks have the shape of the whole answer, without a role."""
    first, second, last, end = events(post(client, COMPLETIONS, model="m", prompt="hi", stream=True).text)
    shapes = [chunk["choices"][0] for chunk in (first, second, last)]
    assert [shape["text"] for shape in shapes] == ["h", "i", ""]
    assert [shape["finish_reason"] for shape in shapes] == [None, None, "stop"]
    assert {chunk["object"] for chunk in (first, second, last)} == {"text_completion"}
    assert end == "[DONE]"


def test_an_app_completes_nothing(client: TestClient) -> None:
    """A raw prompt to an app is refused, and the right route named."""
    error = post(client, COMPLETIONS, model="echo", prompt="hi").json()["error"]
    assert error["param"] == "model"
    assert "/v1/chat/completions" in error["message"]


LETTER = {"token": "h", "bytes": [104], "logprob": -0.5}
OTHER = {"token": "?", "bytes": [63], "logprob": -1.5}


def test_chat_logprobs(client: TestClient, engine: Spelling) -> None:
    """Asked for, every token has its log-probability, its bytes and its alternatives; unasked there are none."""
    choice = post(client, model="m", logprobs=True, top_logprobs=3).json()["choices"][0]
    assert choice["logprobs"]["content"][0] == {**LETTER, "top_logprobs": [OTHER]}
    assert [token["token"] for token in choice["logprobs"]["content"]] == list("hello")
    assert engine.asked[0].logprobs == 3
    assert post(client, model="m", logprobs=True).json()["choices"][0]["logprobs"] is not None
    assert engine.asked[1].logprobs == 0
    assert post(client, model="m").json()["choices"][0]["logprobs"] is None


def test_streamed_chat_logprobs(client: TestClient) -> None:
    """Each chunk carries the tokens of its own text."""
    chunks = [chunk["choices"][0] for chunk in events(post(client, model="m", logprobs=True, stream=True).text)[:-1]]
    told = [token["token"] for chunk in chunks if chunk["logprobs"] for token in chunk["logprobs"]["content"]]
    assert told == list("hello")


def test_completion_logprobs(client: TestClient) -> None:
    """Four lists of equal length: tokens, figures, alternatives by name, and where each token begins."""
    told = post(client, COMPLETIONS, model="m", prompt="né", logprobs=2).json()["choices"][0]["logprobs"]
    assert told == {
        "tokens": ["n", "é"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"?": -1.5}, {"?": -1.5}],
        "text_offset": [0, 1],
    }
    chunks = events(post(client, COMPLETIONS, model="m", prompt="né", logprobs=2, stream=True).text)[:-1]
    assert [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks[:2]] == [[0], [1]]


def test_cut_characters_do_not_hide_each_other() -> None:
    """Bytes of one character are named by their bytes, and only the last one moves the offset."""
    from harness.serve.gateway.logprob_shapes import CompletionLogprobs

    parts = [TokenLogprob("\ufffd", bytes([byte]), float("-inf")) for byte in "é".encode()]
    told = CompletionLogprobs().shape([*parts, TokenLogprob("!", b"!", -1.0)])
    assert told["tokens"] == ["bytes:\\xc3", "bytes:\\xa9", "!"]
    assert told["text_offset"] == [0, 0, 1]
    assert told["token_logprobs"][0] == -9999.0


def test_tokens_are_counted_on_the_way(client: TestClient) -> None:
    """With continuous_usage_stats each chunk counts what was read and written so far."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(post(client, model="m", stream=True, stream_options=options).text)[1:6]
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 4, 5]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {7}


def test_ignoring_the_end_reaches_the_engine(client: TestClient, engine: Spelling) -> None:
    """ignore_eos is passed on to a model that runs here, and refused for others, for apps and for forms."""
    assert post(client, model="m", ignore_eos=True).status_code == 200
    assert engine.asked[0].decoding.ignore_eos
    for body in ({"model": "far"}, {"model": "echo"}, {"model": "m", "response_format": {"type": "json_object"}}):
        answer = post(client, **body, ignore_eos=True)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "ignore_eos")


def test_an_adapter_is_a_model_with_a_parent(client: TestClient, engine: Spelling) -> None:
    """An adapter is listed with its base and no path, and its requests carry its digest."""
    card = client.get("/v1/models/tuned").json()
    assert (card["kind"], card["parent"], card["digest"]) == ("adapter", "m", "b" * 64)
    assert "/" not in "".join(str(value) for name, value in card.items() if name != "routes")
    answer = post(client, model="tuned")
    assert answer.headers["x-signoff-digest"] == "b" * 64
    assert engine.asked[0].adapter == "b" * 64


def test_biases_reach_the_engine(client: TestClient, engine: Spelling) -> None:
    """logit_bias is read from OpenAI's mapping of token ids."""
    post(client, model="m", logit_bias={"17": -100, "3": 2.5})
    assert engine.asked[0].decoding.logit_bias == ((3, 2.5), (17, -100.0))


def test_times_are_told(client: TestClient) -> None:
    """A model's answer says how long it took and how long it waited."""
    told = post(client, model="m").json()["signoff"]
    assert told == {"digest": MODEL, "latency_ms": 12.0, "queue_ms": 2.0}
