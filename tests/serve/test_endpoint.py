"""The engine ``openai``: a whole answer or an error, and nothing sent that the endpoint does not honour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SignoffError, UsageError
from harness.serve.protocol import (
    ChoiceOutput,
    Decoding,
    Delta,
    Generation,
    GenerationRequest,
    JsonOutput,
    Message,
    OverloadedError,
    RequestError,
)
from harness.serve.remote import Endpoint, EndpointError, RemoteEngine, close_session, read_answer
from harness.serve.remote.events import EventReader
from harness.serve.remote.features import Feature, Status
from harness.serve.remote.transport import retry_after_s
from harness.serve.remote.turns import Turns
from harness.spec.models import Model
from tests.serve.contracts import Trusting
from tests.serve.fake_endpoint import MODEL, Fake, faking

T = TypeVar("T")
ASKED = (Message("user", "What is over there?"),)
HERE = Endpoint("http://127.0.0.1:1/v1", "m", "model 'm'")


def model(url: str, **more: Any) -> Model:
    """A remote model."""
    return Model(name="far", engine="openai", base_url=url, model_id=MODEL, licence="MIT", context=2048, **more)


def request(**decoding: Any) -> GenerationRequest:
    """A question, greedy unless said otherwise."""
    return GenerationRequest(ASKED, Decoding(**{"max_tokens": 12, **decoding}))


Work = Callable[[Fake, RemoteEngine], Coroutine[Any, Any, T]]


def run(
    work: Work[T],
    *faults: str,
    lacking: dict[Feature, Status] | None = None,
    spec: dict[str, Any] | None = None,
    adapters: dict[Feature, Status] | None = None,
    **more: Any,
) -> T:
    """Do ``work`` with an engine over a fake whose contract lacks these features."""

    async def inside() -> T:
        async with faking(*faults, **more) as fake:
            try:
                return await work(
                    fake, RemoteEngine(model(fake.url, **(spec or {})), Trusting(lacking, adapters=adapters))
                )
            finally:
                await close_session()

    return asyncio.run(inside())


def generated(asked: GenerationRequest, *faults: str, **more: Any) -> Generation:
    """The whole answer."""
    return run(lambda _, engine: engine.generate(asked), *faults, **more)


async def collected(engine: RemoteEngine, asked: GenerationRequest) -> tuple[list[Delta], Generation]:
    """All pieces, and the answer at the end."""
    deltas: list[Delta] = []
    async with aclosing(engine.stream(asked)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Generation):
                return deltas, piece
            deltas.append(piece)
    raise AssertionError("the stream ended without an answer")


def streamed(asked: GenerationRequest, *faults: str, **more: Any) -> tuple[list[Delta], Generation]:
    """The answer in pieces."""
    return run(lambda _, engine: collected(engine, asked), *faults, **more)


def sent(asked: GenerationRequest, **more: Any) -> dict[str, Any]:
    """The body that reached the endpoint."""

    async def work(fake: Fake, engine: RemoteEngine) -> dict[str, Any]:
        await engine.generate(asked)
        return fake.asked[-1]

    return run(work, **more)


def test_answer_in_pieces_is_the_whole_answer() -> None:
    """The pieces make up the text; tokens, reason and log-probabilities are the same both ways."""
    asked = GenerationRequest(ASKED, Decoding(max_tokens=9), logprobs=2)
    whole = generated(asked)
    deltas, found = streamed(asked)
    assert "".join(delta.text for delta in deltas) == found.text == whole.text != ""
    assert len(deltas) == 9
    for name in ("finish_reason", "prompt_tokens", "completion_tokens", "logprobs"):
        assert getattr(found, name) == getattr(whole, name)
    assert (found.finish_reason, found.completion_tokens) == ("length", 9)
    assert whole.logprobs is not None
    assert [(token.text, token.data, token.logprob) for token in whole.logprobs][:1] == [
        (whole.logprobs[0].text, whole.logprobs[0].text.encode(), -0.5)
    ]
    assert [top[0] for top in whole.logprobs[0].top] == [whole.logprobs[0].text, "~"]
    assert tuple(token for delta in deltas for token in delta.logprobs) == whole.logprobs


def test_raw_prompt_goes_to_completions() -> None:
    """A raw prompt is continued, in the older shapes, with log-probabilities too."""
    asked = GenerationRequest((), Decoding(max_tokens=5), prompt="Once", logprobs=1)
    whole = generated(asked)
    _, found = streamed(asked)
    assert (whole.text, whole.logprobs) == (found.text, found.logprobs)
    assert whole.logprobs is not None and len(whole.logprobs) == 5 and len(whole.logprobs[0].top) == 1


def test_only_what_matters_is_sent() -> None:
    """A greedy request names no seed and no cut; a drawn one names them all."""
    assert sent(request(seed=7, top_p=0.5, top_k=3)) == {
        "model": MODEL, "messages": [{"role": "user", "content": "What is over there?"}], "max_tokens": 12,
        "temperature": 0.0,
    }  # fmt: skip
    drawn = sent(request(seed=7, top_p=0.5, top_k=3, temperature=0.7, stop=("x",), logit_bias=((3, -1.0),)))
    assert {name: drawn[name] for name in ("seed", "top_p", "top_k", "temperature", "stop", "logit_bias")} == {
        "seed": 7, "top_p": 0.5, "top_k": 3, "temperature": 0.7, "stop": ["x"], "logit_bias": {"3": -1.0},
    }  # fmt: skip


def test_length_has_the_name_that_is_honoured() -> None:
    """Endpoints that know only the newer name get that."""
    body = sent(request(), lacking={"max_tokens": "refused"})
    assert "max_tokens" not in body and body["max_completion_tokens"] == 12


def test_choice_is_written_as_json_and_read_back() -> None:
    """The option itself is the answer; a stream hands it out in one piece."""
    asked = GenerationRequest(ASKED, Decoding(max_tokens=40), ChoiceOutput(("red herring", "blue")))
    assert generated(asked).text == "red herring"
    deltas, found = streamed(asked)
    assert [delta.text for delta in deltas] == ["red herring"] and found.text == "red herring"


def test_answer_that_is_no_option_is_an_error() -> None:
    """An endpoint that ignores the schema after all is caught at each answer."""
    asked = GenerationRequest(ASKED, Decoding(max_tokens=4), ChoiceOutput(("red", "blue")))
    with pytest.raises(EndpointError, match="none of the 2 options"):
        generated(asked, "json_schema")
    with pytest.raises(EndpointError, match="JSON was asked for"):
        generated(GenerationRequest(ASKED, Decoding(max_tokens=100), JsonOutput()), "json_object")


REFUSALS: list[tuple[Feature, GenerationRequest, str]] = [
    ("seed", request(temperature=0.5), "seed"),
    ("temperature", request(temperature=0.5), "temperature"),
    ("greedy", request(), "temperature"),
    ("top_p", request(temperature=0.5, top_p=0.9), "top_p"),
    ("top_k", request(temperature=0.5, top_k=5), "top_k"),
    ("stop", request(stop=("x",)), "stop"),
    ("logit_bias", request(logit_bias=((1, 2.0),)), "logit_bias"),
    ("logprobs", GenerationRequest(ASKED, logprobs=0), "logprobs"),
    ("top_logprobs", GenerationRequest(ASKED, logprobs=2), "top_logprobs"),
    ("json_object", GenerationRequest(ASKED, output=JsonOutput()), "response_format"),
    ("json_schema", GenerationRequest(ASKED, output=JsonOutput({"type": "object"})), "response_format"),
    ("json_schema", GenerationRequest(ASKED, output=ChoiceOutput(("a", "b"))), "response_format"),
    ("system", GenerationRequest((Message("system", "Be brief."), *ASKED)), "messages"),
    ("completions", GenerationRequest((), prompt="Once"), "prompt"),
]


@pytest.mark.parametrize("status", ["ignored", "refused", "unknown"])
@pytest.mark.parametrize(
    ("feature", "asked", "field"), REFUSALS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_not_honoured_is_not_sent(
    feature: Feature, asked: GenerationRequest, field: str, status: Status
) -> None:
    """The error names the field and what was seen, whether the feature is ignored, refused or was not observed."""

    async def work(fake: Fake, engine: RemoteEngine) -> None:
        with pytest.raises(RequestError, match=f"{field!r} cannot be served.*{feature!r}: seen of {feature}") as raised:
            await engine.generate(asked)
        assert raised.value.param == field
        assert fake.asked == []

    run(work, lacking={feature: status})


@pytest.mark.parametrize("feature", ["stream", "stream_usage", "stream_done", "stream_stop", "stream_logprobs"])
def test_streams_have_conditions_of_their_own(feature: Feature) -> None:
    """A stream that cannot be trusted is refused; the whole answer is not."""
    asked = GenerationRequest(ASKED, Decoding(max_tokens=5, stop=("zzz",)), logprobs=0)
    with pytest.raises(RequestError, match=feature):
        streamed(asked, lacking={feature: "ignored"})
    assert generated(asked, lacking={feature: "ignored"}).completion_tokens == 5


def test_model_file_may_do_without() -> None:
    """What costs repeatability or early pieces can be declared in model.yaml: then it is left out."""
    body = sent(request(temperature=0.5, seed=3), lacking={"seed": "refused"}, spec={"tolerates": ("seed",)})
    assert "seed" not in body
    assert sent(request(), lacking={"greedy": "ignored"}, spec={"tolerates": ("greedy",)})["temperature"] == 0
    deltas, found = streamed(request(), lacking={"stream_usage": "ignored"}, spec={"tolerates": ("stream",)})
    assert [delta.text for delta in deltas] == [found.text]


BROKEN = {
    "error event": b'data: {"error": {"message": "boom"}}\n\n',
    "no end": b"",
    "not JSON": b"data: {nope\n\n",
    "not UTF-8": b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
    "another shape": b"data: [1]\n\n",
    "two choices": b'data: {"choices": [{"delta": {}}, {"delta": {}}]}\n\n',
    "no finish": b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3}}\n\ndata: [DONE]\n\n',
    "filtered": b'data: {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}\n\ndata: [DONE]\n\n',
    "no usage": b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
    "bad usage": b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"a": 1}}\n\ndata: [DONE]\n\n',
    "endless line": b"data: " + b"x" * (5 * 2**20),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_stream_that_breaks_is_no_short_answer(kind: str) -> None:
    """Whatever happens after three pieces, the answer so far is never taken for the whole."""

    async def work(_: Fake, engine: RemoteEngine) -> int:
        seen: list[Delta | Generation] = []
        with pytest.raises(EndpointError, match=r"model 'far' at http://127.0.0.1"):
            async for piece in engine.stream(request()):
                seen.append(piece)
        assert not any(isinstance(piece, Generation) for piece in seen)
        return len(seen)

    assert run(work, broken=BROKEN[kind] or b": nothing\n\n") == 3


def test_connection_lost_in_mid_stream() -> None:
    """A server that dies is a transient error."""
    with pytest.raises(EndpointError) as raised:
        streamed(request(), "cut")
    assert raised.value.transient


def test_busy_in_mid_stream() -> None:
    """An overload that is told of in an event is an overload."""
    busy = orjson.dumps({"error": {"message": "busy", "code": 429}})
    with pytest.raises(OverloadedError, match="busy"):
        streamed(request(), broken=b"data: " + busy + b"\n\n")


@pytest.mark.parametrize("fault", ["finish", "usage"])
def test_whole_answer_must_be_whole(fault: str) -> None:
    """Without a finish_reason or token counts there is no answer."""
    with pytest.raises(EndpointError, match=r"finish_reason None|counts no tokens"):
        generated(request(), fault)


def test_text_past_its_stop_string_is_an_error() -> None:
    """A stop string in the text means that it was not obeyed."""
    text = generated(request()).text
    with pytest.raises(EndpointError, match="goes past the stop string"):
        generated(request(stop=(text[3:6],)), "stop")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("ask", [generated, streamed])
def test_overload_says_when_to_come_back(status: int, ask: Callable[..., Any]) -> None:
    """Too busy is an OverloadedError with the server's own waiting time."""
    with pytest.raises(OverloadedError, match=f"HTTP {status}") as raised:
        ask(request(), status=status, headers={"retry-after": "7"})
    assert raised.value.retry_after_s == 7


def test_waiting_time_in_all_its_forms() -> None:
    """Seconds, milliseconds, a date; nonsense and infinity are bounded."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after_s({"retry-after-ms": "250"}) == 0.25
    assert 80 < retry_after_s({"retry-after": soon}) <= 90
    assert [retry_after_s({"retry-after": text}) for text in ("-1", "nan", "soon", "inf")] == [1, 1, 1, 3600]
    assert retry_after_s({}) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, RequestError), (422, RequestError), (404, EndpointError)])
def test_refusals_keep_their_kind(status: int, kind: type[Exception]) -> None:
    """A request that the endpoint refuses is the caller's to mend, everything else is not."""
    with pytest.raises(kind, match=f"HTTP {status}"):
        generated(request(), status=status)


def test_redirect_is_not_followed() -> None:
    """The key must not be taken to another place."""
    with pytest.raises(EndpointError, match="HTTP 307"):
        generated(request(), status=307, headers={"location": "http://127.0.0.1:9/"})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("ask", [generated, streamed])
def test_key_never_shows(status: int, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers quote the key that they were sent; our errors do not."""
    monkeypatch.setenv("DESK_KEY", "sk-secret-12345")
    with pytest.raises(SignoffError) as raised:
        ask(request(), status=status, spec={"api_key_env": "DESK_KEY"})
    assert "sk-secret" not in str(raised.value)
    assert "sk-secret" not in repr(raised.value.__cause__)


def test_key_in_an_error_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it show when a stream breaks off."""
    monkeypatch.setenv("DESK_KEY", "sk-secret-12345")
    with pytest.raises(EndpointError, match=r"bad \[key\]"):
        streamed(
            request(),
            spec={"api_key_env": "DESK_KEY"},
            key="sk-secret-12345",
            broken=b'data: {"error": {"message": "bad sk-secret-12345"}}\n\n',
        )


def test_unset_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable nothing is sent."""
    monkeypatch.delenv("DESK_KEY", raising=False)
    with pytest.raises(UsageError, match="DESK_KEY, which is not set"):
        generated(request(), spec={"api_key_env": "DESK_KEY"})


def test_deadline_is_for_the_whole_answer() -> None:
    """A stream that drips does not outlive its deadline, though every piece comes in time."""
    with pytest.raises(EndpointError, match=r"no answer within 0\.3 s") as raised:
        streamed(request(), slow_s=0.1, spec={"timeout_s": 0.3})
    assert raised.value.timed_out and raised.value.transient


def test_connections_are_reused() -> None:
    """Ten requests one after the other, streamed and whole, come over one connection."""

    async def work(fake: Fake, engine: RemoteEngine) -> int:
        for _ in range(5):
            await engine.generate(request())
            await collected(engine, request())
        return len(fake.peers)

    assert run(work) == 1


def test_abandoned_stream_hangs_up() -> None:
    """The endpoint learns that nobody listens any more."""

    async def work(fake: Fake, engine: RemoteEngine) -> None:
        async with aclosing(engine.stream(request(max_tokens=30))) as pieces:
            async for _ in pieces:
                break
        await asyncio.wait_for(fake.hung_up.wait(), 10)

    run(work, slow_s=0.05)


def test_requests_that_break_each_other_are_sent_in_turn() -> None:
    """An endpoint that drops a stream for the next request gets one at a time; others get all at once."""

    async def work(fake: Fake, engine: RemoteEngine) -> int:
        await asyncio.gather(*(collected(engine, request()) for _ in range(6)))
        return fake.most_at_once

    assert run(work, lacking={"parallel": "ignored"}) == 1
    assert run(work) > 1


def test_adapter_is_the_name_that_the_endpoint_knows() -> None:
    """``adapters`` in model.yaml maps a step's adapter to the endpoint's model name; others are refused."""
    spec = {"adapters": {"tone/1.0.0": "tuned"}}
    asked = GenerationRequest(ASKED, Decoding(max_tokens=3), adapter="tone/1.0.0")
    assert sent(asked, spec=spec, models=(MODEL, "tuned"))["model"] == "tuned"
    with pytest.raises(RequestError, match=r"has no adapter 'tone/2.0.0'; model.yaml names: tone/1.0.0"):
        generated(GenerationRequest(ASKED, adapter="tone/2.0.0"), spec=spec)
    with pytest.raises(SignoffError, match="'tuned'"):
        generated(asked, spec=spec, models=(MODEL, "tuned"), adapters={"chat": "ignored"})


def test_adapters_that_would_be_mixed_up_are_kept_apart() -> None:
    """Where an adapter answers for others in its batch, only requests for one of them are under way together."""
    asks = [GenerationRequest(ASKED, Decoding(max_tokens=9), adapter=adapter) for adapter in (None, "t/1.0.0") * 4]

    async def work(fake: Fake, engine: RemoteEngine) -> tuple[list[str], int]:
        found = await asyncio.gather(*(engine.generate(asked) for asked in asks))
        return [each.text for each in found], fake.most_at_once

    spec = {"adapters": {"t/1.0.0": "tuned"}}
    right, _ = run(work, spec=spec, models=(MODEL, "tuned"))
    wrong, _ = run(work, "mixed", spec=spec, models=(MODEL, "tuned"))
    kept_apart, _ = run(work, "mixed", spec=spec, models=(MODEL, "tuned"), adapters={"batch_exact": "ignored"})
    assert wrong != right == kept_apart


def test_turns_are_fair_and_survive_those_who_give_up() -> None:
    """Equal kinds share a turn, others wait in order, and a caller that is cancelled blocks nobody."""

    async def work() -> list[str]:
        turns, log = Turns(), list[str]()
        go = asyncio.Event()

        async def hold(kind: str) -> None:
            async with turns.turn(kind):
                log.append(kind)
                await go.wait()

        tasks = [asyncio.ensure_future(hold(kind)) for kind in "aabba"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert log == ["a", "a"]
        tasks[2].cancel()
        tasks[3].cancel()
        await asyncio.sleep(0.01)
        assert log == ["a", "a", "a"]
        more = asyncio.ensure_future(hold("c"))
        go.set()
        await asyncio.gather(*tasks, more, return_exceptions=True)
        return log

    assert asyncio.run(work()) == ["a", "a", "a", "c"]


def events(stream: bytes, cuts: list[int]) -> list[Any]:
    """The chunks in ``stream`` when the network cuts it there."""
    reader, found = EventReader(HERE), []
    for start, end in pairwise([0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]):
        found += [*reader.feed(stream[start:end])]
    return [*found, *reader.end()]


STREAM = (
    ': hello\r\n\r\ndata: {"a": "wÖrd ☂"}\r\n\r\nevent: x\nid: 1\ndata: {"b":\ndata: 2}\n\n\n\ndata:{"c": 3}\n\n'
    "data: [DONE]\n\ndata: {after\n\n"
).encode()


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_events_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    """The network may cut anywhere, also inside a character; what follows [DONE] is not looked at."""
    assert events(STREAM, cuts) == [{"a": "wÖrd ☂"}, {"b": 2}, {"c": 3}]


@given(st.binary(max_size=200))
def test_no_body_crashes_the_reader(content: bytes) -> None:
    """Whatever the body of an answer is, it is a generation or an EndpointError."""
    with pytest.raises(EndpointError):
        read_answer(content, request(), HERE)
    with pytest.raises(EndpointError):
        read_answer(b'{"choices": [' + content + b"]}", request(), HERE)


def test_remote_model_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses with secrets or without a scheme, and adapters of a local model, are refused when they are read."""
    for url in ("ftp://x/v1", "http://", "http://user:word@x/v1", "http://x/v1?key=1", "x:1"):
        with pytest.raises(ValueError, match="base_url"):
            model(url)
    with pytest.raises(ValueError, match="adapters is for engine 'openai'"):
        Model(name="near", source="path:w", sha256="a" * 64, licence="MIT", context=9, adapters={"t/1.0.0": "x"})
    plain = model("http://x/v1")
    assert plain.digest != model("http://x/v1", adapters={"t/1.0.0": "x"}).digest
    assert hash(plain) == hash(model("http://x/v1"))
