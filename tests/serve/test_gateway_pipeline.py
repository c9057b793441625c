"""What happens to a request beside its answer: arms, shadows, reservations, and what observers learn."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from harness.errors import SignoffError
from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.feedback import FeedbackBook
from harness.serve.gateway.limiter import KeyLimiter
from harness.serve.gateway.parts import Arm, Parts
from harness.serve.gateway.routes import create_app
from harness.serve.gateway.served import BrokenStepError, LoadedModel
from harness.serve.gateway.shadows import Shadows
from harness.serve.gateway.turn import Turn
from harness.serve.protocol import OverloadedError
from harness.spec.serving import Limits
from tests.serve.bench import Bench
from tests.serve.gateways import (
    APP,
    HELLO,
    MODEL,
    Echo,
    StreamingEcho,
    SureEcho,
    Watcher,
    events,
    post,
    speak,
)

CHAT = "/v1/chat/completions"
PATIENCE_S = 20


@pytest.fixture
def bench() -> Bench:
    """A fresh one."""
    return Bench()


def test_an_arm_answers(bench: Bench) -> None:
    """The arm that the traffic names answers; header, turn and digest say which, and the user decides."""
    bench.apps["echo@b"] = SureEcho("echo", "b" * 64)
    bench.split.found = Arm("b", "echo@b")
    with bench.client() as client:
        answer = post(client, model="echo", user="dana")
        assert (answer.headers["x-signoff-arm"], answer.headers["x-signoff-digest"]) == ("b", "b" * 64)
        assert bench.split.asked == [("echo", "dana")]
        assert (bench.turn.app, bench.turn.arm, bench.turn.digest) == ("echo", "b", "b" * 64)
        assert len(bench.apps["echo@b"].calls) == 1
        assert "x-signoff-arm" not in post(client, model="plain").headers
        listed = {card["id"] for card in client.get("/v1/models").json()["data"]}
    assert listed == {"m", "other", "far", "echo", "plain"}


def _wait(until: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_shadow_is_recorded_and_never_shown(bench: Bench) -> None:
    """After the answer the shadow is asked the same, told to the observers as a shadow; its failure hurts nobody."""
    bench.apps["echo@new"] = SureEcho("echo", "n" * 64, failure=BrokenStepError("echo", "say", "failed", "why"))
    bench.split.found = Arm("old", "echo", ("echo@new",))
    with bench.client() as client:
        answer = post(client, model="echo", user="dana", inputs={"tier": "gold"})
        assert answer.json()["choices"][0]["message"]["content"] == "echo hello"
        _wait(lambda: len(bench.watcher.turns) == 2)
    own, shadow = bench.watcher.turns
    assert not own.shadow
    assert (shadow.shadow, shadow.shadow_of, shadow.arm, shadow.app) == (True, own.id, "new", "echo")
    assert (shadow.outcome, shadow.status, shadow.user) == ("failed", 500, "dana")
    assert bench.apps["echo@new"].calls[0].inputs == {"tier": "gold"}
    assert len(bench.purse.reserved) == 1


def test_too_many_shadows_are_left_out() -> None:
    """Shadows that do not end hold no answer up: what comes on top of the bound is dropped and counted."""
    dropped: list[str] = []

    class Figures:
        content_type = "text/plain"

        def render(self) -> bytes:
            return b""

        def shadow_dropped(self, app: str) -> None:
            dropped.append(app)

    class Stuck(Echo):
        async def respond(self, request: Any) -> Any:
            await asyncio.sleep(3600)

    async def run() -> None:
        watcher = Watcher()
        shadows = Shadows({"echo@x": Stuck()}, Parts(figures=Figures(), observers=(watcher,)), most=2)
        for _ in range(5):
            shadows.start(("echo@x",), Echo().calls, Turn("t", "chat", app="echo"))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert dropped == ["echo"] * 3
        await shadows.close()
        assert [turn.outcome for turn in watcher.turns] == ["cancelled"] * 2

    asyncio.run(run())


def test_what_is_reserved_is_settled(bench: Bench) -> None:
    """The estimate covers all choices; the usage settles it; what was refused costs nothing."""
    with bench.client() as client:
        post(client, model="m", n=2, max_tokens=50, stream=True)
        post(client, model="echo")
        post(client, model="m", max_tokens=0)
        bench.engine.failure = OverloadedError("full", 3.0)
        post(client, model="m", max_tokens=4)
    assert bench.purse.admitted == ["development"] * 4
    assert bench.purse.reserved[:2] == [len("hello") // 4 + 1 + 100, len("hello") // 4 + 1 + 40]
    assert bench.purse.settled == [7 + 10, 5, 0, 0]


def test_the_limiter_is_asked_before_the_body_is_read(bench: Bench) -> None:
    """Beyond the limits a body of any size or form is turned away unread, feedback like the rest."""
    bench.purse.refusal = ApiError(429, "slow down", code="rate_limit_exceeded")
    with bench.client() as client:
        for route in ("chat/completions", "completions", "embeddings"):
            assert client.post(f"/v1/{route}", content=b"x" * 20 * 2**20).status_code == 429


def test_feedback_counts_as_a_request() -> None:
    """A key's feedback is held to its requests a minute, whatever became of the requests."""
    parts = Parts(limiter=KeyLimiter(Limits(requests_per_minute=2)), feedback=FeedbackBook(lambda *_: None))
    with TestClient(create_app({}, {}, parts)) as client:
        found = [client.post("/v1/feedback", json={"response_id": "x", "thumb": "up"}).status_code for _ in range(3)]
    assert found == [404, 404, 429]


def test_a_refusal_of_the_limiter_is_the_answer(bench: Bench) -> None:
    """A 429 keeps its retry-after, and the turn counts as limited."""
    bench.purse.refusal = ApiError(429, "slow down", code="rate_limit_exceeded", headers={"retry-after": "7"})
    with bench.client() as client:
        answer = post(client, model="m")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert (bench.turn.outcome, bench.turn.status, bench.purse.settled) == ("limited", 429, [])


def test_an_engine_without_room_says_when(bench: Bench) -> None:
    """An overloaded engine is a 429 with retry-after in both of its units, streamed or not."""
    bench.engine.failure = OverloadedError("the queue is full", 1.2)
    bench.engine.hold = asyncio.Event()
    bench.engine.hold.set()
    with bench.client() as client:
        answer = post(client, model="m")
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["retry-after-ms"]) == (429, "2", "1200")
    assert bench.turn.outcome == "limited"


def test_a_turn_knows_its_request(bench: Bench) -> None:
    """Observers learn who asked what, what answered and how long it took."""
    with bench.client() as client:
        answer = post(
            client, model="m", user="dana", max_tokens=4, temperature=0.5, seed=3, stream=True,
            headers={"x-request-id": "r-1", "traceparent": "00-ab-cd-01"},
        )  # fmt: skip
    turn = bench.turn
    assert (turn.id, turn.asked, turn.model, turn.app, turn.user) == ("r-1", "m", "m", "", "dana")
    assert (turn.input, turn.output, turn.finish_reason, turn.stream) == ("hello", "hell", "stop", True)
    assert (turn.max_tokens, turn.temperature, turn.seed) == (4, 0.5, 3)
    assert (turn.tokens.prompt, turn.tokens.completion, turn.queue_s) == (7, 4, 0.002)
    assert (turn.outcome, turn.status, turn.digest) == ("ok", 200, MODEL)
    assert turn.traceparent == "00-ab-cd-01"
    assert turn.first_s is not None and turn.total_s is not None and 0 < turn.first_s <= turn.total_s
    assert turn.response_id == events(answer.text)[0]["id"]


@pytest.mark.parametrize(
    ("body", "outcome", "status"),
    [
        ({"model": "nobody"}, "refused", 404),
        ({"model": "m", "max_tokens": 0}, "refused", 400),
        ({"model": "slow"}, "timeout", 504),
        ({"model": "broken"}, "failed", 500),
    ],
)
def test_every_end_is_told_once(bench: Bench, body: dict[str, Any], outcome: str, status: int) -> None:
    """Refused, timed out or broken: one turn each, with the status that the caller got."""
    bench.apps["slow"] = Echo("slow", failure=BrokenStepError("slow", "say", "timeout", "why"))
    bench.apps["broken"] = StreamingEcho("broken", failure=ZeroDivisionError("secret"))
    with bench.client() as client:
        answer = post(client, **body, stream=False)
    assert answer.status_code == status
    assert (bench.turn.outcome, bench.turn.status) == (outcome, status)
    assert bench.turn.error == answer.json()["error"]["message"]


def test_a_stream_that_breaks_is_told_as_broken(bench: Bench) -> None:
    """Its status went out as 200, its turn says what happened and what was shown until then."""
    bench.apps["flow"] = StreamingEcho("flow", failure=SignoffError("gone"))
    with bench.client() as client:
        *_, last = events(post(client, model="flow", stream=True).text)
    assert last["error"]["message"] == "gone"
    assert (bench.turn.outcome, bench.turn.status, bench.turn.output) == ("failed", 500, "one ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_is_told_as_cancelled(bench: Bench, stream: bool) -> None:
    """The answer stops, the reservation is settled at its estimate, and the turn says 499."""

    async def run() -> None:
        bench.engine.hold = asyncio.Event()
        body = {"model": "m", "messages": HELLO, "max_tokens": 30, "stream": stream}
        await speak(bench.app(), CHAT, body, leave=lambda: bench.engine.open > 0)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert (bench.turn.outcome, bench.turn.status) == ("cancelled", 499)
    assert bench.engine.open == 0
    assert bench.purse.settled == bench.purse.reserved[:1]


def test_an_observer_that_fails_hurts_nobody(bench: Bench) -> None:
    """The answer is given, and the next observer is told."""

    class Broken:
        def observe(self, turn: Turn) -> None:
            raise ZeroDivisionError

    app = create_app({"m": LoadedModel("m", MODEL, bench.engine)}, {}, Parts(observers=(Broken(), bench.watcher)))
    with TestClient(app) as client:
        assert post(client, model="m").status_code == 200
    assert bench.turn.outcome == "ok"


def test_the_digest_is_known_before_a_stream(bench: Bench) -> None:
    """An app that can say beforehand what answers has the effective digest in the header of its stream."""
    with bench.client() as client:
        assert post(client, model="echo", stream=True, temperature=1.0).headers["x-signoff-digest"] == "changed"
        assert post(client, model="echo", stream=True).headers["x-signoff-digest"] == APP
        assert "x-signoff-digest" not in post(client, model="plain", stream=True, temperature=1.0).headers


def test_in_flight_comes_back_to_nothing(bench: Bench) -> None:
    """Whatever happens to requests, none is left counted."""
    app = bench.app()
    with TestClient(app) as client:
        for body in ({"model": "m"}, {"model": "m", "stream": True}, {"model": "x"}, {"model": "m", "max_tokens": 0}):
            post(client, **body)
        assert client.get("/admin/status").json()["in_flight"] == 0
