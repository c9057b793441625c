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
from harness.serve.gateway.content_limits import check_content
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import AppRequest, AppResponse, LoadedModel
from harness.serve.protocol import RequestError
from harness.spec.serving import Limits

HELLO = [{"role": "user", "content": "hello"}]
PART = {"type": "text", "text": "a"}


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
    """Ten megabytes are refused unread, on every route and in the one shape of error."""
    body = b'{"model": "tiny", "messages": [{"role": "user", "content": "' + b"x" * 10 * 2**20 + b'"}]}'
    for route in ("chat/completions", "completions", "embeddings"):
        answer = client.post(f"/v1/{route}", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
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
        ({"n": 9}, "n"),
        ({"n": 8, "max_tokens": 1025}, "max_tokens"),
        ({"max_tokens": 8193}, "max_tokens"),
        ({"logprobs": 2}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "response_format": {"type": "choice", "options": ["a", "b"]}}, "logprobs"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"logit_bias": {"1": "a"}}, "logit_bias.1"),
        ({"logit_bias": {str(token): 1 for token in range(301)}}, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(100_000)}}, "logit_bias"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"stop": ["a"] * 9}, "stop"),
        ({"stop": "a" * 257}, "stop"),
        ({"stop": ["a"] * 1_000_000}, "stop"),
        ({"stop": [1] * 1_000_000}, "stop.0"),
        ({"messages": [1] * 1_000_000}, "messages.0"),
        ({"messages": HELLO * 5000}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]},
            "messages.0.content.0.x",
        ),
        ({"messages": [{"role": "user", "content": [PART] * 5000}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": "hello " * 100_000}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * 5000}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a" * 1000}], "max_tokens": 1500}, "max_tokens"),
        ({"user": "a" * 513}, "user"),
        ({"tools": []}, "tools"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": False}, "presence_penalty"),
        ({"store": True}, "store"),
        ({"a" * 500: 1}, "a" * 60),
        ({"max_token": 5}, "max_token"),
        ({"inputs": {}}, "inputs"),
        ({"signoff": {"trace": True}}, "signoff"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "text", "x": 1}}, "response_format.x"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "choice", "options": ["a"]}}, "options"),
        ({"response_format": {"type": "choice", "options": [1]}}, "response_format.options.0"),
        ({"response_format": {"type": "choice", "options": ["a"] * 100_000}}, "response_format.options"),
        ({"response_format": {"type": "choice", "options": ["a" * 40_000, "b" * 40_000]}}, "response_format.options"),
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


SCHEMA = "response_format.json_schema.schema"


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "deep": (_nested(400), SCHEMA),
    "enum": ({"enum": [f"value {number}" for number in range(10_000)]}, SCHEMA),
    "patterns": ({"patternProperties": {f"^(a{{1,100}}){number}$": {} for number in range(400)}}, SCHEMA),
    "self": ({"$ref": "#"}, "response_format"),
    "loop": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "response_format",
    ),
    "remote": ({"$ref": "http://127.0.0.1:9/schema"}, "response_format"),
    "file": ({"$ref": "file:///etc/passwd"}, "response_format"),
    "lexer": ({"type": "string", "pattern": ".*" * 200 + "x"}, "response_format"),
    "parentheses": ({"type": "string", "pattern": "(" * 400 + "a" + ")" * 400}, "response_format"),
    "regex": ({"type": "string", "pattern": "("}, "response_format"),
    "wide": ({"type": "object", "properties": {f"k{n}": {"type": "integer"} for n in range(2000)}}, "response_format"),
    "product": (
        {"allOf": [{"anyOf": [{"properties": {f"a{i}{j}": {}}} for j in range(3)]} for i in range(12)]},
        "response_format",
    ),
    "bounds": ({"type": "number", "minimum": -1e308, "maximum": 1e308}, "response_format"),
    "not": ({"not": {}}, "response_format"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_a_400(client: TestClient, name: str) -> None:
    """Schemas that would keep a compiler busy, lead outside or allow nothing are refused, streamed or not."""
    schema, param = HOSTILE[name]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for stream in (False, True):
        body = {"model": "tiny", "messages": HELLO, "response_format": wanted, "max_tokens": 8, "stream": stream}
        answer = client.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"},
        {"type": "string", "pattern": "(.*a.{50})"},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ],
)
def test_a_costly_schema_is_bounded(client: TestClient, schema: dict[str, Any]) -> None:
    """Patterns that ruin backtracking matchers, and values that never end, are cut by max_tokens like any text."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    draw = {"max_tokens": 40, "temperature": 1, "seed": 1}
    answer = client.post(
        "/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "response_format": wanted, **draw}
    )
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] <= 40


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt.0"),
        ({"prompt": [[1, 2]]}, "prompt.0"),
        ({"prompt": ["a"] * 9}, "n"),
        ({"prompt": ["a"] * 3, "n": 3}, "n"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "messages": HELLO}, "messages"),
        ({"prompt": "a", "response_format": {"type": "json_object"}}, "response_format"),
        ({"prompt": "a" * 3000}, "prompt"),
        ({"prompt": "hello " * 100_000}, "prompt"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """A raw prompt is a text or several, within the same limits; what only chats have is refused."""
    answer = client.post("/v1/completions", json={"model": "tiny", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0, "presence_penalty": 0.0, "n": 1, "service_tier": "auto", "store": False},
        {"parallel_tool_calls": False, "logprobs": False, "logit_bias": {}, "stop": []},
    ],
)
def test_asking_for_nothing_is_granted(client: TestClient, fields: dict[str, Any]) -> None:
    """Fields that clients send unasked, with the value that changes nothing, are no reason to refuse."""
    answer = client.post("/v1/chat/completions", json={"model": "tiny", "messages": HELLO, "max_tokens": 1, **fields})
    assert answer.status_code == 200


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
            check_content(chat, Limits())
            read()
        except ApiError as refusal:
            assert refusal.status == 400
        except RequestError as refusal:
            assert refusal.param
