"""The HTTP surface over one model and two apps: shapes, errors, and clients that leave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from harness.errors import SignoffError, UsageError
from harness.serve.engine.async_engine import AsyncEngine
from harness.serve.engine.tiny import tiny_engine
from harness.serve.engine.transformers_engine import TransformersEngine
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import BrokenStepError, LoadedModel
from harness.serve.protocol import OverloadedError, RequestError
from tests.serve.gateways import APP, ERROR, HELLO, MODEL, Echo, StreamingEcho, events, post, speak
from tests.serve.helpers import Solo, ask


@pytest.fixture(scope="module")
def tiny() -> Iterator[TransformersEngine]:
    """One engine for the module."""
    yield tiny_engine()


@pytest.fixture(scope="module")
def model(tiny: TransformersEngine) -> Iterator[LoadedModel]:
    """The tiny model as it is served."""
    running = AsyncEngine(tiny)
    yield LoadedModel("tiny", MODEL, running)
    running.close()


@pytest.fixture
def echo() -> Echo:
    """A fresh app."""
    return Echo()


@pytest.fixture
def app(model: LoadedModel, echo: Echo) -> FastAPI:
    """A gateway over one model and two apps."""
    return create_app({"tiny": model}, {"echo": echo, "flow": StreamingEcho("flow")})


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """An HTTP client of the gateway."""
    with TestClient(app) as client:
        yield client


def test_a_completion_has_openais_shape(client: TestClient, solo: Solo) -> None:
    """A model's answer carries text, reason, usage and the digest of what answered."""
    answer = post(client, model="tiny", max_tokens=9)
    body = answer.json()
    assert answer.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": solo(ask("hello", max_tokens=9))}
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 9
    assert answer.headers["x-signoff-digest"] == body["system_fingerprint"] == MODEL


def test_a_stream_has_openais_shape(client: TestClient) -> None:
    """Role first, then text, then the reason, then usage with empty choices, then the end mark."""
    whole = post(client, model="tiny", max_tokens=9).json()["choices"][0]["message"]["content"]
    answer = post(client, model="tiny", max_tokens=9, stream=True, stream_options={"include_usage": True})
    first, *texts, last, usage, end = events(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-signoff-digest"] == MODEL
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in texts) == whole
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 9)
    assert end == "[DONE]"
    assert len({chunk["id"] for chunk in (first, *texts, last, usage)}) == 1


def test_usage_is_streamed_only_when_asked_for(client: TestClient) -> None:
    """Without stream_options no chunk has empty choices."""
    *chunks, end = events(post(client, model="tiny", max_tokens=3, stream=True).text)
    assert end == "[DONE]"
    assert all(chunk["choices"] for chunk in chunks)


def test_decoding_fields_are_honoured(client: TestClient) -> None:
    """Seed, temperature and stop change the answer as they do in the engine."""
    draw = {"model": "tiny", "max_completion_tokens": 30, "temperature": 1.0}
    texts = [post(client, **draw, seed=seed).json()["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    stop = texts[0][5]
    cut = post(client, **draw, seed=1, stop=stop).json()["choices"][0]
    assert cut["message"]["content"] == texts[0][: texts[0].index(stop)]
    assert cut["finish_reason"] == "stop"


def test_a_choice_comes_with_its_scores(client: TestClient) -> None:
    """The choice format answers with the likeliest option and the log-probability of each."""
    wanted = {"type": "choice", "options": ["yes", "no", "never"]}
    choice = post(client, model="tiny", response_format=wanted).json()["choices"][0]
    scores = choice["choice_scores"]
    assert choice["message"]["content"] == max(scores, key=scores.get)
    assert sum(math.exp(score) for score in scores.values()) == pytest.approx(1.0)


def test_a_json_schema_is_enforced(client: TestClient) -> None:
    """A json_schema format yields text of that schema."""
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    content = post(client, model="tiny", response_format=wanted).json()["choices"][0]["message"]["content"]
    assert orjson.loads(content)["a"] in (1, 2)


def test_models_and_apps_are_listed_with_their_digests(client: TestClient) -> None:
    """The list names kind and digest; one entry can be asked for; an unknown one is a 404."""
    cards = {card["id"]: card for card in client.get("/v1/models").json()["data"]}
    assert {(name, card["kind"], card["digest"]) for name, card in cards.items()} == {
        ("tiny", "model", MODEL),
        ("echo", "app", APP),
        ("flow", "app", APP),
    }
    assert client.get("/v1/models/echo").json() == cards["echo"]
    missing = client.get("/v1/models/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_an_app_gets_inputs_repeat_and_overrides(client: TestClient, echo: Echo) -> None:
    """The extension fields reach the app, and the digest that answers is the effective one."""
    answer = post(
        client, model="echo", inputs={"tier": "gold"}, signoff={"trace": True, "repeat": 2}, seed=5, temperature=0.5
    )
    (call,) = echo.calls
    assert (call.inputs, call.repeat, call.seed, call.trace) == ({"tier": "gold"}, 2, 5, True)
    assert call.overrides.temperature == 0.5
    assert answer.headers["x-signoff-digest"] == "changed"
    assert answer.json()["signoff"] == {"digest": "changed", "steps": {"say": {"output": "x"}}}


def test_an_app_answers_without_a_trace(client: TestClient, echo: Echo) -> None:
    """Unasked, steps are not shown; usage and digest are the app's."""
    answer = post(client, model="echo")
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "echo hello"
    assert body["usage"]["total_tokens"] == 5
    assert body["signoff"] == {"digest": APP}
    assert not echo.calls[0].overrides


@pytest.mark.parametrize(("name", "pieces"), [("echo", ["echo hello"]), ("flow", ["one ", "two"])])
def test_an_app_streams_what_it_can(client: TestClient, name: str, pieces: list[str]) -> None:
    """An app that streams comes in its pieces, any other in one."""
    _, *texts, last, end = events(post(client, model=name, stream=True).text)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in texts] == pieces
    assert (last["signoff"], end) == ({"digest": APP}, "[DONE]")


def test_a_stream_that_breaks_says_so(client: TestClient, app: FastAPI) -> None:
    """A failure after the first piece becomes an error event, and no end mark follows."""
    broken = StreamingEcho("broken", failure=SignoffError("step reply failed"))
    with TestClient(create_app({}, {"broken": broken})) as other:
        *_, last = events(post(other, model="broken", stream=True).text)
    assert last["error"]["message"] == "step reply failed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (RequestError("inputs lack 'tier'", "inputs"), 400, "inputs lack 'tier'"),
        (SignoffError("the judge is gone"), 500, "the judge is gone"),
        (BrokenStepError("echo", "say", "timeout", "secret"), 504, "app 'echo': step 'say' did not answer in time"),
        (BrokenStepError("echo", "say", "unreachable", "secret"), 502, "app 'echo': step 'say' could not be reached"),
        (BrokenStepError("echo", "say", "failed", "secret"), 500, "app 'echo': step 'say' failed"),
        (OverloadedError("the queue is full", 1.5), 429, "the queue is full"),
        (ZeroDivisionError("secret"), 500, "internal error"),
    ],
)
def test_failures_of_an_app_keep_the_shape(
    client: TestClient, echo: Echo, failure: Exception, status: int, message: str, stream: bool
) -> None:
    """Whatever an app raises becomes an OpenAI error with the right status; unforeseen text stays inside."""
    echo.failure = failure
    answer = post(client, model="echo", stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == ERROR
    assert answer.json()["error"]["message"].startswith(message)
    assert "secret" not in answer.text


def test_every_response_has_a_request_id(client: TestClient) -> None:
    """A caller's own id comes back; a missing or odd one is replaced; errors have one too."""
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    odd = client.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"]
    assert odd not in ("", "a b")
    assert client.get("/nowhere").headers["x-request-id"]


def test_unknown_routes_and_methods_keep_the_shape(client: TestClient) -> None:
    """404 and 405 of the router are OpenAI errors as well."""
    for answer, status in ((client.get("/v1/nothing"), 404), (client.get("/v1/chat/completions"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"].keys() == ERROR


def test_names_must_be_unambiguous(model: LoadedModel, echo: Echo) -> None:
    """A model and an app of one name are refused when the gateway is built."""
    with pytest.raises(UsageError, match="both"):
        create_app({"both": model}, {"both": echo})


def test_a_client_that_leaves_frees_the_slot(app: FastAPI, tiny: TransformersEngine) -> None:
    """When the connection ends before the answer, the engine stops working on it, streamed or not."""

    async def leave(stream: bool) -> None:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 1900, "stream": stream}
        await speak(app, "/v1/chat/completions", body, leave=lambda: tiny.busy)
        async with asyncio.timeout(20):
            while tiny.busy:
                await asyncio.sleep(0.001)

    asyncio.run(leave(stream=False))
    asyncio.run(leave(stream=True))
