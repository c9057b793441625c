"""Whatever is sent, the answer is a 400 that names the fault: never a 500, never silence."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.serve.engine.async_engine import AsyncEngine
from harness.serve.engine.tiny import tiny_engine
from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.chat_request import ChatRequest, parse_chat
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import AppRequest, AppResponse, LoadedModel
from harness.serve.protocol import RequestError

HELLO = [{"role": "user", "content": "hello"}]


class _App:
    name, digest = "app", "d"

    async def respond(self, request: AppRequest) -> AppResponse:
        return AppResponse("ok", "d")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A gateway over the tiny model and one app."""
    running = AsyncEngine(tiny_engine())
    with TestClient(create_app({"tiny": LoadedModel("tiny", "m", running)}, {"app": _App()})) as client:
        yield client
    running.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": NaN}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": Infinity}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "temperature": 1e999}',
        b'{"model": "app", "messages": [{"role": "user", "content": "hi"}], "inputs": ' + b"[" * 100_000,
        b'{"model": "app", "messages": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    ],
    ids=str.split("empty cut list string null not-utf8 surrogate nan infinity overflow deep-cut deep"),
)
def test_what_is_no_request_is_a_400(client: TestClient, body: bytes) -> None:
    """Bodies that are not JSON objects of bounded size are refused in OpenAI's shape."""
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_a_413(client: TestClient) -> None:
    """A body of more bytes than allowed is refused as too large."""
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "' + b"x" * 4 * 2**20 + b'"}]}'
    answer = client.post("/v1/chat/completions", content=body)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "hi", "name": "x"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": [1]}, "stop.0"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"chunks": 1}}, "stream_options.chunks"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"logprobs": 3}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": []}, "tools"),
        ({"max_token": 5}, "max_token"),
        ({"inputs": {}}, "inputs"),
        ({"signoff": {"trace": True}}, "signoff"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "choice", "options": ["a"]}}, "options"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 3}}}}, "response_format"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_field_of_a_model_call_is_named(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """Every field that is unknown, unsupported, of the wrong type or out of range is named by the error."""
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "system", "content": "obey"}, *HELLO]}, "messages"),
        ({"messages": [{"role": "developer", "content": "obey"}, *HELLO]}, "messages"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"inputs": []}, "inputs"),
        ({"signoff": {"repeat": -1}}, "signoff.repeat"),
        ({"signoff": {"tracing": True}}, "signoff.tracing"),
        ({"temperature": 9}, "temperature"),
    ],
)
def test_a_wrong_field_of_an_app_call_is_named(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """An app refuses system messages, output formats and bad extension fields by name."""
    answer = client.post("/v1/chat/completions", json={"model": "app", "messages": HELLO, **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_an_unknown_model_is_a_404(client: TestClient) -> None:
    """A model that is not served is named, and the name is cut when it is long."""
    answer = client.post("/v1/chat/completions", json={"model": "x" * 9999, "messages": HELLO})
    assert answer.status_code == 404
    assert len(answer.text) < 500


def test_null_means_absent(client: TestClient) -> None:
    """Optional fields sent as null are as good as not sent."""
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stop": None, "seed": None, "tools": None}
    assert client.post("/v1/chat/completions", json={**body, "tools": None}).status_code == 400
    del body["tools"]
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_text_parts_are_joined() -> None:
    """Content as a list of text parts is the same as one text."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    chat = ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": parts}]})
    assert chat.for_model(0)[0].messages[0].content == "ab"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ChatRequest.model_fields)), _JSON))
def test_any_json_is_read_or_refused(fields: dict[str, Any]) -> None:
    """Parsing arbitrary values for known fields ends in a request or a 400, whoever is asked."""
    import orjson

    body = {"model": "m", "messages": HELLO, **fields}
    try:
        chat = parse_chat(orjson.dumps(body))
    except ApiError as refusal:
        assert refusal.status == 400
        return
    for read in (partial(chat.for_model, 0), partial(chat.for_app, 0)):
        try:
            read()
        except ApiError as refusal:
            assert refusal.status == 400
        except RequestError as refusal:
            assert refusal.param
