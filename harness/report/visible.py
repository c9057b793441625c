"""Hostile text made harmless and honest: what hides, reorders or breaks a page is shown by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from markupsafe import Markup, escape

NAMES = {
    0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x0B: "VT", 0x0C: "FF", 0x0D: "CR", 0x1B: "ESC", 0x7F: "DEL",
    0x85: "NEL", 0xA0: "NBSP", 0xAD: "SHY", 0x061C: "ALM", 0x200B: "ZWSP", 0x200C: "ZWNJ", 0x200D: "ZWJ",
    0x200E: "LRM", 0x200F: "RLM", 0x2028: "LSEP", 0x2029: "PSEP", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x202F: "NNBSP", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI",
    0x2069: "PDI", 0xFEFF: "BOM",
}  # fmt: skip

# Letters and marks by category, yet drawn as nothing: used to smuggle data past a reader.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def is_hidden(character: str) -> bool:
    """Whether a reader could not see ``character`` for what it is; space, tab and newline are seen."""
    if character in " \t\n":
        return False
    code = ord(character)
    # U+FE0F (emoji style) is left alone: it follows every other emoji and carries one bit at most.
    if 0xFE00 <= code <= 0xFE0E or 0xE0100 <= code <= 0xE01EF:
        return True
    return character in _BLANK or unicodedata.category(character) in _HIDDEN


def name(character: str) -> str:
    """The usual short name of a hidden character, else its code point."""
    return NAMES.get(ord(character), f"U+{ord(character):04X}")


def as_html(text: str) -> Markup:
    """``text`` escaped, every run of a hidden character as one named mark."""
    # Safe: `text` is escaped here, and the inserted mark holds only a name from `name` and a count.
    escaped = str(escape(text))
    return Markup(_replace(escaped, lambda label: f'<i class="c">{label}</i>'))  # noqa: S704


def as_text(text: str) -> str:
    """``text`` with every run of a hidden character as ``⟨NAME⟩``; also what XML 1.0 and UTF-8 can hold."""
    return _replace(text, lambda label: f"⟨{label}⟩")


def one_line(text: str, limit: int) -> str:
    """``as_text`` on one line, cut to ``limit`` characters."""
    lines = (line.strip() for line in text.replace("\t", " ").split("\n"))
    flat = as_text(" ⏎ ".join(line for line in lines if line))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _replace(text: str, mark: Callable[[str], str]) -> str:
    # Nearly every text of a large run is this plain; looking at each of its characters costs twenty times as much.
    if text.isascii() and text.isprintable():
        return text
    hidden = "".join(sorted(character for character in set(text) if is_hidden(character)))
    if not hidden:
        return text

    def label(match: re.Match[str]) -> str:
        run = match.group(0)
        return mark(name(run[0]) + (f"×{len(run)}" if len(run) > 1 else ""))

    # A run is one mark, or a megabyte of NULs would become a page of fifty megabytes.
    return re.sub(f"([{re.escape(hidden)}])\\1*", label, text)
