"""Placeholders: one for each value, none for what the user wrote himself, and the way back, also in pieces."""

from __future__ import annotations

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from harness.data.placeholders import StreamRestorer, Vault


def _vault() -> Vault:
    vault = Vault()
    vault.placeholder("EMAIL", "dana@example.com")
    vault.placeholder("PERSON", 'Dana "Dee" Reyes')
    return vault


def test_one_value_has_one_placeholder() -> None:
    """Capitals do not make another e-mail, spaces no other telephone number; letters make another parcel."""
    vault = Vault()
    assert vault.placeholder("EMAIL", "dana@example.com") == vault.placeholder("EMAIL", "DANA@example.com")
    assert vault.placeholder("PHONE", "030 555 01") == vault.placeholder("PHONE", "030-55501")
    assert vault.placeholder("NUMBER", "RR12345678DE") != vault.placeholder("NUMBER", "RA12345678DE")
    assert vault.placeholder("EMAIL", "jo@example.com") == "<EMAIL_2>"


def test_restore_is_one_pass() -> None:
    """An original that looks like a placeholder is not restored again."""
    vault = Vault()
    vault.placeholder("LITERAL", "<EMAIL_1>")
    vault.placeholder("EMAIL", "dana@example.com")
    assert vault.restore("<LITERAL_1> <EMAIL_1> <EMAIL_9>") == "<EMAIL_1> dana@example.com <EMAIL_9>"


def test_reserved_numbers_are_skipped() -> None:
    """A number that the user's text has is given to nobody."""
    vault = Vault()
    vault.reserve("what is <EMAIL_1> and <EMAIL_2>?")
    assert vault.placeholder("EMAIL", "dana@example.com") == "<EMAIL_3>"
    assert vault.restore("<EMAIL_1>") == "<EMAIL_1>"


def test_restoring_into_json() -> None:
    """With ``escape`` an original with quotes leaves a JSON answer valid."""
    restored = _vault().restore('{"to": "<PERSON_1>"}', lambda text: orjson.dumps(text)[1:-1].decode())
    assert orjson.loads(restored) == {"to": 'Dana "Dee" Reyes'}


def test_a_vault_does_not_show_what_it_holds() -> None:
    """Its representation, which may come into a log, counts only."""
    assert repr(_vault()) == "Vault(2 placeholders)"


@given(st.text(alphabet="<>_EMAILPRSON12 x", max_size=60), st.lists(st.integers(0, 60), max_size=12))
def test_streamed_restoring_is_restoring(noise: str, cuts: list[int]) -> None:
    """However an answer is cut into pieces, the pieces restored are the whole restored."""
    answer = noise[: len(noise) // 2] + "<EMAIL_1>" + noise[len(noise) // 2 :] + "<PERSON_1>"
    borders = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    restorer = StreamRestorer(vault := _vault())
    pieces = [restorer.push(answer[a:b]) for a, b in pairwise(borders)]
    assert "".join([*pieces, restorer.close()]) == vault.restore(answer)


def test_what_cannot_become_a_placeholder_is_not_held_back() -> None:
    """A streamed answer stops at an open bracket for the length of a placeholder at most."""
    restorer = StreamRestorer(_vault())
    assert restorer.push("a <b> and 3 < 4 ") == "a <b> and 3 < 4 "
    assert restorer.push("<EMA") == ""
    assert restorer.push("IL_1") == ""
    assert restorer.push("> and <" + "A" * 40) == "dana@example.com and <" + "A" * 40
    assert restorer.close() == ""
