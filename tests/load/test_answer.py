"""Server-sent events, however they are cut into pieces."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.answer import StreamedAnswer

ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
TEXT = {"choices": [{"delta": {"content": "é"}}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}], "signoff": {"steps": {"a": {"cached": False}}}}
USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


def stream(*events: object) -> bytes:
    """The events as a server writes them."""
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


@given(st.lists(st.integers(1, 40), max_size=30))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    """Wherever the bytes are cut, also within a character, the same answer comes out."""
    data, answer, at = b": comment\r\n" + stream(ROLE, TEXT, TEXT, END, USAGE), StreamedAnswer(), 0.0
    parts = []
    for size in [*cuts, len(data)]:
        parts.append(data[:size])
        data = data[size:]
    over = False
    for part in parts:
        if part and not over:
            at += 1.0
            over = answer.feed(part, at)
    assert over
    assert (answer.pieces, answer.tokens, answer.prompt_tokens, answer.finish_reason) == (2, 2, 5, "stop")
    assert answer.steps == {"a": {"cached": False}}
    assert answer.first is not None and answer.ended is not None
    assert answer.first <= answer.ended == at


def test_the_role_is_no_token() -> None:
    """The first token is the first that says something."""
    answer = StreamedAnswer()
    answer.feed(b"data: " + orjson.dumps(ROLE) + b"\n\n", 1.0)
    assert answer.first is None
    answer.feed(b"data: " + orjson.dumps(TEXT) + b"\n\n", 2.0)
    assert answer.first == 2.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"data: {not json\n", "no JSON object"),
        (b"data: 17\n", "no JSON object"),
        (b'data: {"error": {"message": "too long"}}\n', "too long"),
        (b'data: {"error": "plain"}\n', "plain"),
    ],
)
def test_an_event_that_is_none_ends_the_answer(line: bytes, said: str) -> None:
    """What cannot be read is an error, not a token."""
    answer = StreamedAnswer()
    assert answer.feed(line, 1.0)
    assert said in answer.error


@pytest.mark.parametrize(
    "event",
    [
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": "text"}]},
        {"choices": {"0": 1}},
        {"usage": {"completion_tokens": True}},
        {"usage": {"completion_tokens": "9", "prompt_tokens_details": 3}},
        {"signoff": {"steps": ["a"]}},
        {"signoff": {"steps": {"a": 1}}},
    ],
)
def test_odd_shapes_do_not_stop_the_generator(event: object) -> None:
    """A server may send anything; a request must end as a sample all the same."""
    answer = StreamedAnswer()
    answer.feed(stream(event), 1.0)
    assert answer.ended == 1.0
    assert answer.tokens is None
    assert answer.steps in ({}, {"a": {}})
