"""Who answers a model call: an endpoint, or the cache before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.errors import SignoffError, UsageError
from harness.serve.protocol import ChoiceOutput, Decoding, GenerationRequest, JsonOutput, Message
from harness.serve.steps.callers import Answer, CachingCaller, EndpointCaller, StepError
from harness.spec.models import Model
from harness.store import GenerationCache
from tests.run.project import Reply, Stub, reply, serving
from tests.serve.apps import Scripted, transient
from tests.serve.contracts import Trusting

REMOTE = Model(name="remote", engine="openai", base_url="http://x", model_id="m-1", licence="MIT", context=99)
LOCAL = Model(name="local", source="path:w", sha256="a" * 64, licence="MIT", context=99)
ASKED = GenerationRequest((Message("user", "hi"),), Decoding(max_tokens=7, seed=5))


def chat(content: str = "hello", **headers: str) -> Reply:
    """A chat completion."""
    usage = {"prompt_tokens": 4, "completion_tokens": 1}
    return reply(
        {"choices": [{"message": {"content": content}, "finish_reason": "length"}], "usage": usage}, 200, **headers
    )


def asked_of(
    answer: Callable[[Any], Reply], model: Model = REMOTE, request: GenerationRequest = ASKED
) -> tuple[Answer, Stub]:
    """What an endpoint that answers so gives, and what it was asked."""

    async def run(stub: Stub) -> Answer:
        async def base(_: Model) -> str:
            return f"{stub.url}/v1"

        asked = model.model_copy(update={"base_url": f"{stub.url}/v1"}) if model.engine == "openai" else model
        async with aiohttp.ClientSession() as session:
            return await EndpointCaller(session, base, Trusting()).ask(asked, request, 0)

    with serving(answer) as stub:
        return asyncio.run(run(stub)), stub


def test_endpoint_speaks_chat_completions() -> None:
    """The request carries model, messages and decoding; text, reason and tokens come back."""
    answer, stub = asked_of(lambda _: chat())
    ((path, _, body),) = stub.asked
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "temperature": 0.0,
    }  # fmt: skip
    found = answer.generation
    assert (found.text, found.finish_reason, found.prompt_tokens, found.completion_tokens) == ("hello", "length", 4, 1)
    assert not answer.cached


def test_choice_and_json_become_response_formats() -> None:
    """A foreign endpoint gets an enum schema for a choice; this project's own gateway ranks the options."""
    choice = GenerationRequest(ASKED.messages, ASKED.decoding, ChoiceOutput(("a", "b")))
    _, remote = asked_of(lambda _: chat("a"), request=choice)
    schema = remote.asked[0][2]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"choice": {"type": "string", "enum": ["a", "b"]}}
    _, local = asked_of(lambda _: chat("a"), LOCAL, choice)
    assert local.asked[0][2]["response_format"] == {"type": "choice", "options": ["a", "b"]}
    free = GenerationRequest(ASKED.messages, ASKED.decoding, JsonOutput(None))
    _, as_json = asked_of(lambda _: chat("{}"), request=free)
    assert as_json.asked[0][2]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 401])
def test_status_says_whether_to_try_again(status: int) -> None:
    """Busy and unavailable are transient, a refused or broken request is not; both name the model and the status."""
    with pytest.raises(StepError, match=f"'remote'.*HTTP {status}") as raised:
        asked_of(lambda _: reply({}, status))
    assert raised.value.transient == (status not in (500, 401))


@pytest.mark.parametrize("content", [b"not json", b"{}", b'{"choices": []}', b"[]"])
def test_no_completion_is_named(content: bytes) -> None:
    """An answer of another shape is an error with its beginning, not a crash."""
    with pytest.raises(StepError, match="not a chat completion"):
        asked_of(lambda _: (200, content, {}))


def test_another_digest_is_refused() -> None:
    """A gateway that serves other bytes than those under review ends the measuring, not only one case."""
    with pytest.raises(SignoffError, match="under review is") as raised:
        asked_of(lambda _: chat(x_signoff_digest="f" * 64), LOCAL)
    assert not isinstance(raised.value, StepError)
    assert asked_of(lambda _: chat(x_signoff_digest=LOCAL.digest), LOCAL)[0].generation.text == "hello"


def test_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of ``api_key_env`` is sent; without the variable the error names it."""
    keyed = REMOTE.model_copy(update={"api_key_env": "DESK_KEY"})
    monkeypatch.setenv("DESK_KEY", "k")
    assert asked_of(lambda _: chat(), keyed)[1].asked[0][1]["authorization"] == "Bearer k"
    monkeypatch.delenv("DESK_KEY")
    with pytest.raises(UsageError, match="DESK_KEY, which is not set"):
        asked_of(lambda _: chat(), keyed)


def identity(_: Model) -> dict[str, str]:
    """An engine."""
    return dict.fromkeys(("engine", "engine_version", "dtype", "cpu", "tokenizer_template"), "x")


def cached(
    path: Path, inner: Any, *questions: tuple[Model, GenerationRequest, int], together: bool = False
) -> tuple[list[Answer], CachingCaller]:
    """The answers to ``questions`` through a cache at ``path``."""

    async def run() -> tuple[list[Answer], CachingCaller]:
        with GenerationCache(path) as cache:
            caller = CachingCaller(inner, cache, identity)
            if together:
                answers = list(await asyncio.gather(*(caller.ask(*question) for question in questions)))
            else:
                answers = [await caller.ask(*question) for question in questions]
            caller.flush()
            return answers, caller

    return asyncio.run(run())


def test_greedy_answer_of_a_pinned_model_is_asked_once(tmp_path: Path) -> None:
    """Greedy decoding depends on neither seed nor repeat, and the cache outlives the process's caller."""
    inner = Scripted(lambda _: "hello")
    other_seed = GenerationRequest(ASKED.messages, Decoding(max_tokens=7, seed=6))
    answers, caller = cached(tmp_path / "c", inner, (LOCAL, ASKED, 0), (LOCAL, other_seed, 1))
    assert ([answer.cached for answer in answers], caller.hits, caller.misses) == ([False, True], 1, 1)
    again, _ = cached(tmp_path / "c", inner, (LOCAL, ASKED, 0))
    assert again[0].cached and again[0].generation == answers[0].generation
    assert len(inner.asked) == 1


@pytest.mark.parametrize(
    ("model", "request_", "repeat"),
    [
        (LOCAL.model_copy(update={"sha256": "b" * 64}), ASKED, 0),
        (LOCAL, GenerationRequest((Message("user", "ho"),), ASKED.decoding), 0),
        (LOCAL, GenerationRequest((Message("system", "hi"),), ASKED.decoding), 0),
        (LOCAL, GenerationRequest(ASKED.messages, Decoding(max_tokens=8, seed=5)), 0),
        (LOCAL, GenerationRequest(ASKED.messages, ASKED.decoding, JsonOutput(None)), 0),
        (LOCAL, GenerationRequest(ASKED.messages, Decoding(max_tokens=7, seed=5, temperature=1)), 0),
    ],
    ids=["bytes", "text", "role", "max_tokens", "output", "temperature"],
)
def test_another_question_is_asked(tmp_path: Path, model: Model, request_: GenerationRequest, repeat: int) -> None:
    """Whatever may change the answer makes another key."""
    inner = Scripted(lambda _: "hello")
    cached(tmp_path / "c", inner, (LOCAL, ASKED, 0), (model, request_, repeat))
    assert len(inner.asked) == 2


def test_sampled_repeats_are_asked_apart(tmp_path: Path) -> None:
    """A sampled answer is kept for its own repeat only."""
    inner = Scripted(lambda _: "hello")
    warm = GenerationRequest(ASKED.messages, Decoding(max_tokens=7, temperature=0.7, seed=5))
    cached(tmp_path / "c", inner, (LOCAL, warm, 0), (LOCAL, warm, 1), (LOCAL, warm, 0))
    assert len(inner.asked) == 2


class Slow(Scripted):
    """A caller that takes a while, so that others come meanwhile."""

    async def ask(self, *args: Any) -> Answer:
        """The scripted generation, later."""
        await asyncio.sleep(0.01)
        return await super().ask(*args)


def test_equal_questions_under_way_are_asked_once(tmp_path: Path) -> None:
    """Ten equal questions at the same time are one call."""

    inner = Slow(lambda _: "hello")
    answers, _ = cached(tmp_path / "c", inner, *[(LOCAL, ASKED, 0)] * 10, together=True)
    assert len(inner.asked) == 1
    assert {answer.generation.text for answer in answers} == {"hello"}


def test_failure_is_never_kept(tmp_path: Path) -> None:
    """An error reaches everybody who waits for it and is forgotten: the next question asks again."""
    said: list[Any] = [transient(), "hello"]
    inner = Slow(lambda _: said.pop(0))

    async def run() -> None:
        with GenerationCache(tmp_path / "c") as cache:
            caller = CachingCaller(inner, cache, identity)
            both = await asyncio.gather(*(caller.ask(LOCAL, ASKED, 0) for _ in range(2)), return_exceptions=True)
            assert all(isinstance(error, StepError) for error in both)
            assert (await caller.ask(LOCAL, ASKED, 0)).generation.text == "hello"

    asyncio.run(run())
