"""Feedback reaches the log under the answer that it is about, and nobody can rate what they were not answered."""

from __future__ import annotations

import logging
import stat
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from harness.errors import UsageError
from harness.serve.gateway.api_errors import ApiError
from harness.serve.gateway.feedback import FeedbackBook, feedback_route, feedback_secret, parse_feedback
from harness.serve.gateway.turn import Principal, Turn
from harness.spec.serving import Limits
from tests.store.helpers import finish, start

ANNA, BEN = Principal("anna"), Principal("ben")
SECRET = b"s" * 32


class Log:
    """A sink that keeps its rows, or refuses them as a full disk does."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.broken: Exception | None = None

    def __call__(self, kind: str, row: Mapping[str, Any]) -> None:
        assert kind == "feedback"
        if self.broken is not None:
            raise self.broken
        self.rows.append(dict(row))


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


@pytest.fixture
def book(log: Log) -> FeedbackBook:
    """A book that remembers three answers, with a clock that stands still."""
    return FeedbackBook(log, SECRET, capacity=3, now=lambda: 1000.0)


def answered(book: FeedbackBook, request_id: str, who: Principal = ANNA, **more: Any) -> str:
    """An answer as the gateway tells of it when it is over; its id."""
    name = book.response_id(request_id, who.key_id)
    turn = Turn(request_id, "chat", who, received=7.0, app="desk", arm="canary", digest="d" * 64, response_id=name)
    turn.output = "hello"
    for key, value in more.items():
        setattr(turn, key, value)
    book.observe(turn)
    return name


def client_of(book: FeedbackBook, limits: Limits | None = None) -> TestClient:
    """The route as a server mounts it; the header ``who`` names the key."""
    endpoint = feedback_route(book, limits)

    async def call(request: Request) -> Response:
        try:
            return await endpoint(request, Principal(request.headers.get("who", "anna")))
        except ApiError as problem:
            return problem.response()

    app = Starlette()
    app.add_route("/v1/feedback", call, methods=["POST"])
    return TestClient(app)


def test_feedback_is_logged_under_its_answer(book: FeedbackBook, log: Log) -> None:
    """The row holds the outcome and what is known of the answer; the caller is told that it was matched."""
    name = answered(book, "req-1")
    body = {"response_id": name, "thumb": "down", "resolved": False, "rating": 2, "edited_text": "hi", "user": "u1"}
    reply = client_of(book).post("/v1/feedback", json=body)
    assert reply.status_code == 202
    assert reply.json() == {"object": "feedback", "response_id": name, "matched": True, "replaced": False}
    assert log.rows == [
        {
            **body,
            "comment": None,
            "request_id": "req-1",
            "key_id": "anna",
            "received": 1000.0,
            "matched": True,
            "revision": 1,
            "app": "desk",
            "model": "",
            "arm": "canary",
            "digest": "d" * 64,
            "answer_received": 7.0,
        }
    ]


def test_feedback_given_again_replaces(book: FeedbackBook, log: Log) -> None:
    """Every feedback is logged with its number; the caller is told that there was an earlier one."""
    body = {"response_id": answered(book, "req-1"), "thumb": "down"}
    with client_of(book) as client:
        replaced = [client.post("/v1/feedback", json=body).json()["replaced"] for _ in range(3)]
    assert replaced == [False, True, True]
    assert [row["revision"] for row in log.rows] == [1, 2, 3]


def test_only_the_key_that_was_answered_may_rate(book: FeedbackBook, log: Log) -> None:
    """Another key's answer, an id that was never given and one that is no id are the same 404."""
    name = answered(book, "req-1")
    forged = name[:-1] + ("0" if name[-1] != "0" else "1")
    client = client_of(book)
    replies = [
        client.post("/v1/feedback", json={"response_id": wrong, "thumb": "up"}, headers={"who": who})
        for wrong, who in (
            (name, "ben"),
            (forged, "anna"),
            ("chatcmpl-req-1", "anna"),
            ("cmpl-" + name.removeprefix("chatcmpl-"), "anna"),
            (name + "\n", "anna"),
            (name.upper(), "anna"),
            ("x", "anna"),
        )
    ]
    assert {reply.status_code for reply in replies} == {404}
    assert len({reply.content for reply in replies}) == 1
    assert replies[0].json()["error"]["param"] == "response_id"
    assert log.rows == []


def test_the_same_request_id_of_two_keys_is_two_answers(book: FeedbackBook, log: Log) -> None:
    """Callers choose request ids: a key that uses another one's neither reads, hides nor rates its answer."""
    mine, other = answered(book, "req-1", ANNA, app="desk"), answered(book, "req-1", BEN, app="shop")
    assert mine != other
    client = client_of(book)
    for name, who in ((mine, "anna"), (other, "ben")):
        assert client.post("/v1/feedback", json={"response_id": name, "thumb": "up"}, headers={"who": who}).json()[
            "matched"
        ]
    assert [(row["key_id"], row["app"]) for row in log.rows] == [("anna", "desk"), ("ben", "shop")]


def test_a_request_id_used_twice_means_the_later_answer(book: FeedbackBook, log: Log) -> None:
    """A retry with the same id is rated as the answer that came last, and its count starts anew."""
    name = answered(book, "req-1", received=7.0)
    client = client_of(book)
    client.post("/v1/feedback", json={"response_id": name, "thumb": "down"})
    assert answered(book, "req-1", received=9.0) == name
    client.post("/v1/feedback", json={"response_id": name, "thumb": "up"})
    assert [(row["answer_received"], row["revision"]) for row in log.rows] == [(7.0, 1), (9.0, 1)]


def test_a_request_id_used_again_is_the_newest_answer(book: FeedbackBook) -> None:
    """The later answer under an id is forgotten after those that came before it, not in its first one's place."""
    names = [answered(book, request_id) for request_id in ("a", "b", "c", "a", "d", "e")]
    matched = [
        book.take(parse_feedback(orjson.dumps({"response_id": name, "thumb": "up"})), ANNA) for name in names[1:]
    ]
    assert [receipt.matched for receipt in matched] == [False, False, True, True, True]


def test_after_a_restart_answers_are_still_ours(book: FeedbackBook, log: Log) -> None:
    """With the same secret an answer from before is accepted unmatched; another key or another secret is a 404."""
    body = {"response_id": answered(book, "req-1"), "thumb": "up"}
    with client_of(FeedbackBook(log, SECRET)) as after:
        reply = after.post("/v1/feedback", json=body)
        assert (reply.status_code, reply.json()["matched"]) == (202, False)
        assert after.post("/v1/feedback", json=body, headers={"who": "ben"}).status_code == 404
    assert client_of(FeedbackBook(log)).post("/v1/feedback", json=body).status_code == 404
    (row,) = log.rows
    assert (row["request_id"], row["key_id"], row["app"], row["revision"]) == ("req-1", "anna", None, None)


def test_the_book_is_bounded(book: FeedbackBook, log: Log) -> None:
    """Past its capacity the oldest answers are forgotten; feedback on them is accepted unmatched."""
    names = [answered(book, f"req-{number}") for number in range(5)]
    assert len(book) == 3
    client = client_of(book)
    for name in names:
        client.post("/v1/feedback", json={"response_id": name, "thumb": "up"})
    assert [row["matched"] for row in log.rows] == [False, False, True, True, True]
    assert len(book) == 3


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, True),
        ({"outcome": "cancelled"}, True),
        ({"outcome": "failed", "output": "half an ans"}, True),
        ({"outcome": "failed", "output": ""}, False),
        ({"outcome": "limited", "output": ""}, False),
        ({"shadow": True}, False),
        ({"response_id": ""}, False),
    ],
)
def test_only_answers_that_were_shown_are_remembered(book: FeedbackBook, more: dict[str, Any], kept: bool) -> None:
    """A refused request or a shadow does not push out an answer that somebody saw; half an answer was seen."""
    answered(book, "req-1", **more)
    assert len(book) == int(kept)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"response_id": "x"', None),
        (b"\xff\xfe", None),
        (b'{"response_id": "x"}', None),
        (b'{"response_id": "x", "user": "u"}', None),
        (b'{"thumb": "up"}', "response_id"),
        (b'{"response_id": "", "thumb": "up"}', "response_id"),
        (b'{"response_id": 7, "thumb": "up"}', "response_id"),
        (b'{"response_id": "' + b"x" * 201 + b'", "thumb": "up"}', "response_id"),
        (b'{"response_id": "x", "thumb": "sideways"}', "thumb"),
        (b'{"response_id": "x", "thumb": true}', "thumb"),
        (b'{"response_id": "x", "resolved": "yes"}', "resolved"),
        (b'{"response_id": "x", "resolved": 1}', "resolved"),
        (b'{"response_id": "x", "rating": 0}', "rating"),
        (b'{"response_id": "x", "rating": 6}', "rating"),
        (b'{"response_id": "x", "rating": 4.5}', "rating"),
        (b'{"response_id": "x", "rating": true}', "rating"),
        (b'{"response_id": "x", "rating": NaN}', None),
        (b'{"response_id": "x", "comment": ""}', "comment"),
        (b'{"response_id": "x", "comment": "' + b"c" * 8_193 + b'"}', "comment"),
        (b'{"response_id": "x", "edited_text": "' + b"c" * 65_537 + b'"}', "edited_text"),
        (b'{"response_id": "x", "edited_text": "\\ud800"}', None),
        (b'{"response_id": "x", "thumb": "up", "score": 3}', "score"),
        (b"[" * 100_000, None),
    ],
)
def test_a_wrong_body_is_a_400_that_names_the_field(
    book: FeedbackBook, log: Log, body: bytes, param: str | None
) -> None:
    """Whatever is not a feedback is refused before anything is logged."""
    reply = client_of(book).post("/v1/feedback", content=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert log.rows == []


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_no_body_is_an_unforeseen_error(body: bytes) -> None:
    """Any bytes are a feedback or an ApiError 400."""
    try:
        parse_feedback(body)
    except ApiError as problem:
        assert problem.status == 400


@pytest.mark.parametrize("outcome", [{"resolved": False}, {"edited_text": ""}, {"rating": 1}, {"comment": "x"}])
def test_one_outcome_is_enough(outcome: dict[str, Any]) -> None:
    """Each outcome alone is feedback, also one that Python takes for nothing."""
    parse_feedback(orjson.dumps({"response_id": "x", **outcome}))


def test_a_body_beyond_the_limit_is_refused(book: FeedbackBook) -> None:
    """Ten megabytes, and less where the server allows less, are a 413."""
    big = b'{"comment": "' + b"x" * (10 * 2**20) + b'"}'
    assert client_of(book).post("/v1/feedback", content=big).status_code == 413
    small = client_of(book, Limits(body_bytes=1024))
    assert small.post("/v1/feedback", content=big[:2000]).status_code == 413


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UsageError("no space left in /srv/log")])
def test_what_cannot_be_logged_is_not_acknowledged(book: FeedbackBook, log: Log, error: Exception) -> None:
    """A log that cannot be written is a 503 with Retry-After that tells no path; trying again later works."""
    body = {"response_id": answered(book, "req-1"), "thumb": "up"}
    client = client_of(book)
    log.broken = error
    reply = client.post("/v1/feedback", json=body)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "30")
    assert "space" not in reply.text
    log.broken = None
    assert client.post("/v1/feedback", json=body).json() == {
        "object": "feedback",
        "response_id": body["response_id"],
        "matched": True,
        "replaced": False,
    }


REQUEST_IDS = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=128)


@given(REQUEST_IDS, REQUEST_IDS, st.sampled_from(["chatcmpl", "cmpl"]))
def test_any_request_id_can_be_read_back(one: str, two: str, prefix: Any) -> None:
    """Every request id that the gateway lets through is found again in its answer's id; two ids share no answer."""
    rows: list[Any] = []
    book = FeedbackBook(lambda _, row: rows.append(row), SECRET)
    name = book.response_id(one, "anna", prefix)
    book.take(parse_feedback(orjson.dumps({"response_id": name, "thumb": "up"})), ANNA)
    assert rows[0]["request_id"] == one
    assert (book.response_id(two, "anna", prefix) == name) == (one == two)
    assert name.startswith(f"{prefix}-{one}-") and "anna" not in name.removeprefix(f"{prefix}-{one}-")


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    """The file is made at first, read from then on, and only its owner may read it."""
    path = tmp_path / "new" / "feedback.key"
    secret = feedback_secret(path)
    assert len(secret) == 32 and feedback_secret(path) == secret == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_servers_that_start_at_once_share_one_secret(tmp_path: Path) -> None:
    """Four processes that find no file end up with the same secret."""
    program = """
        from pathlib import Path
        from harness.serve.gateway.feedback import feedback_secret
        print(feedback_secret(Path(sys.argv[1])).hex())
    """
    found = {finish(process) for process in [start(program, tmp_path / "feedback.key") for _ in range(4)]}
    assert len(found) == 1


def test_a_damaged_secret_is_made_anew_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of another length is replaced with a warning that holds no part of it."""
    path = tmp_path / "feedback.key"
    path.write_bytes(b"cut off")
    with caplog.at_level(logging.WARNING):
        secret = feedback_secret(path)
    assert path.read_bytes() == secret and len(secret) == 32
    assert "made anew" in caplog.text and "cut off" not in caplog.text


def test_without_a_place_for_the_secret_the_server_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no file can be written the secret lasts as long as the server, and that is said."""
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        one, two = (feedback_secret(tmp_path / "file" / "feedback.key") for _ in range(2))
    assert len(one) == 32 and one != two
    assert "until this server ends" in caplog.text
