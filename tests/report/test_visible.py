"""Hidden characters are named; nothing of a model's text is markup."""

from __future__ import annotations

import pytest

from harness.report.visible import as_html, as_text, is_hidden, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟨RLO⟩b"),
        ("a\u200b\u200b\u200bb", "a⟨ZWSP×3⟩b"),
        ("\x1b[31m", "⟨ESC⟩[31m"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\u3164", "⟨U+3164⟩"),
        ("\uffff\x00", "⟨U+FFFF⟩⟨NUL⟩"),
        ("tab\tline\n", "tab\tline\n"),
        ("héllo ❤️ 日本語", "héllo ❤️ 日本語"),
    ],
    ids=["bidi", "run", "escape", "surrogate", "tag", "filler", "noncharacter", "white-space", "letters"],
)
def test_hidden_characters_are_named(text: str, shown: str) -> None:
    """A character that a reader cannot see stands as its name, a run of one as its name and count."""
    assert shown == as_text(text)


def test_html_is_escaped_before_marks_are_added() -> None:
    """Markup of a model becomes text, and the mark of a hidden character is the only tag in the result."""
    assert str(as_html('<b onclick="x">\u202e')) == '&lt;b onclick=&#34;x&#34;&gt;<i class="c">RLO</i>'


def test_a_forged_mark_stays_text() -> None:
    """Text that imitates the mark of a hidden character is escaped like any other."""
    assert "<i" not in str(as_html('<i class="c">NUL</i>'))


def test_one_line_joins_and_cuts() -> None:
    """Lines are joined by a visible sign and the result never exceeds its limit."""
    assert one_line(" a\n\n b ", 10) == "a ⏎ b"
    assert len(one_line("x" * 50, 10)) == 10


def test_plain_white_space_is_not_hidden() -> None:
    """Space, tab and newline are left alone, a carriage return is not."""
    assert [is_hidden(c) for c in " \t\n\r"] == [False, False, False, True]
