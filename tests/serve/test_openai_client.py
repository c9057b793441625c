"""OpenAI's own client drives ``signoff serve`` unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serve.served_repo import serving, write_repo

HELLO: Any = [{"role": "user", "content": "hello"}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """The client of a server that a user would start."""
    home = tmp_path_factory.mktemp("served")
    root = write_repo(home / "repo", home / "cache")
    with (
        serving(root, home / "cache", "--no-traces") as served,
        openai.OpenAI(base_url=served.url, api_key="none", max_retries=0) as made,
    ):
        yield made


def test_a_chat_and_its_stream_say_the_same(client: openai.OpenAI) -> None:
    """Streamed pieces add up to the whole answer, end with usage, and name the digest."""
    ask: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 9, "seed": 3, "temperature": 0.8}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert whole.system_fingerprint


def test_an_app_answers_like_a_model(client: openai.OpenAI) -> None:
    """An app is asked by its name in the field for the model, with its inputs beside the messages."""
    answer = client.chat.completions.create(model="echo", messages=HELLO, extra_body={"inputs": {"tier": "gold"}})
    assert answer.choices[0].message.content == "you said hello"


def test_choices_differ_by_their_seeds(client: openai.OpenAI) -> None:
    """Of several choices the first is that of the seed alone, and the prompt is counted once."""
    ask: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "seed": 5, "temperature": 1.5}
    one, three = client.chat.completions.create(**ask), client.chat.completions.create(**ask, n=3)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert three.choices[0].message.content == one.choices[0].message.content
    assert len({choice.message.content for choice in three.choices}) == 3
    assert one.usage and three.usage
    assert three.usage.prompt_tokens == one.usage.prompt_tokens


def test_log_probabilities_have_openais_shape(client: openai.OpenAI) -> None:
    """Each token of a chat comes with its log-probability and as many alternatives as were asked for."""
    answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=2)
    told = answer.choices[0].logprobs
    assert told is not None and told.content is not None
    assert len(told.content) == 4
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in told.content)


def test_raw_prompts_are_continued(client: openai.OpenAI) -> None:
    """The older route continues text, also several at once."""
    answer = client.completions.create(model="tiny", prompt=["one", "two"], max_tokens=3, logprobs=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    told = answer.choices[0].logprobs
    assert told is not None and told.token_logprobs is not None
    assert len(told.token_logprobs) == 3


def test_json_obeys_its_schema(client: openai.OpenAI) -> None:
    """A schema is enforced while the answer is written."""
    answer = client.chat.completions.create(
        model="tiny",
        messages=HELLO,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}},
    )
    assert set(json.loads(answer.choices[0].message.content or "")) == {"ok"}


def test_refusals_are_the_clients_own_exceptions(client: openai.OpenAI) -> None:
    """What is not offered, not known or not valid arrives as the exception that the client has for it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=HELLO, presence_penalty=1)
    assert refused.value.param == "presence_penalty"
    assert refused.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=HELLO)
    with pytest.raises(openai.APIStatusError, match="say") as late:
        client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "sleep"}])
    assert late.value.status_code == 504


def test_models_are_listed_with_their_digests(client: openai.OpenAI) -> None:
    """Apps and models are listed, each with the digest that its answers state."""
    cards = {card.id: card for card in client.models.list()}
    assert {"desk", "echo", "tiny"} <= set(cards)
    answer = client.chat.completions.with_raw_response.create(model="desk", messages=HELLO)
    assert answer.headers["x-signoff-digest"] == client.models.retrieve("desk").model_dump()["digest"]


def test_a_keyed_server_wants_its_key(tmp_path: Path) -> None:
    """With a key file nothing but health answers without a key, and a key calls only what it was given."""
    from harness.cli import main

    root, keys = write_repo(tmp_path / "repo", tmp_path / "cache"), tmp_path / "keys.yaml"
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["keys", "add", "--file", str(keys), "--model", "echo"]) == 0
    secret = next(word for word in said.getvalue().split() if word.startswith("so-"))
    with serving(root, tmp_path / "cache", "--no-traces", "--keys", str(keys)) as served:
        with (
            openai.OpenAI(base_url=served.url, api_key="so-wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError),
        ):
            stranger.models.list()
        with openai.OpenAI(base_url=served.url, api_key=secret, max_retries=0) as known:
            assert known.chat.completions.create(model="echo", messages=HELLO).choices[0].message.content
            with pytest.raises(openai.NotFoundError):
                known.chat.completions.create(model="tiny", messages=HELLO)
        served.stop()
        assert secret not in served.said
