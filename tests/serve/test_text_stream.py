"""Text comes out in pieces that never have to be taken back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.serve.engine.text_stream import TextStream
from harness.serve.engine.transformers_engine import TransformersEngine
from tests.serve.helpers import ask, run_all


def _utf8(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode(errors="replace")


def _letters(tokens: Sequence[int]) -> str:
    return "".join(chr(token) for token in tokens)


def test_a_character_comes_whole() -> None:
    """Bytes of an unfinished character are held back until it is complete."""
    stream = TextStream(_utf8, ())
    assert [stream.push(byte) for byte in "aé€".encode()] == ["a", "", "é", "", "", "€"]


def test_an_unfinished_character_at_the_end_is_shown() -> None:
    """What can no longer become a character is handed out when the text closes."""
    stream = TextStream(_utf8, ())
    stream.push("€".encode()[0])
    assert stream.close() == "\ufffd"


def test_a_stop_string_across_tokens_ends_the_text() -> None:
    """A stop string that is spread over tokens is found, and neither it nor its beginning is ever handed out."""
    stream = TextStream(_letters, ("END",))
    pieces = [stream.push(ord(letter)) for letter in "abEND"]
    assert pieces == ["a", "b", "", "", ""]
    assert stream.stopped
    assert stream.close() == ""
    assert stream.text == "ab"


def test_a_false_start_of_a_stop_string_is_handed_out() -> None:
    """Text that only began like a stop string appears once that is clear."""
    stream = TextStream(_letters, ("END",))
    assert [stream.push(ord(letter)) for letter in "ENx"] == ["", "", "ENx"]


def test_the_earliest_stop_string_counts() -> None:
    """Of several stop strings in the text, the one that begins first ends it."""
    stream = TextStream(lambda tokens: "one two three", ("three", "two"))
    stream.push(0)
    assert stream.text == "one "


@given(st.text(alphabet="abx€", max_size=30), st.lists(st.text(alphabet="abx€", min_size=1, max_size=4), max_size=3))
def test_pieces_are_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    """Whatever the text and the stop strings, the pieces add up to the text before the first complete stop."""
    stream = TextStream(_utf8, stops)
    pieces, taken = [], []
    for byte in text.encode():
        taken.append(byte)
        pieces.append(stream.push(byte))
        if stream.stopped:
            break
    pieces.append(stream.close())
    whole = _utf8(taken)
    cut = min((whole.find(stop) for stop in stops if stop in whole), default=len(whole))
    assert "".join(pieces) == stream.text == whole[:cut]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_engine_stops_at_a_stop_string(engine: TransformersEngine, length: int) -> None:
    """A stop string taken from the middle of an answer cuts that answer just before it."""
    (whole,) = run_all(engine, [ask("hello hello", max_tokens=40)])
    stop = whole.text[10 : 10 + length]
    (found,) = run_all(engine, [ask("hello hello", max_tokens=40, stop=(stop,))])
    assert found.text == whole.text[: whole.text.index(stop)]
    assert found.finish_reason == "stop"
    assert found.completion_tokens < 40
