"""Texts as words: lower case, without punctuation, digits kept."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = str.maketrans("", "", "'’ʼ`´")
# Scripts that put no blank between words: every character stands for itself.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def words_of(text: str) -> list[str]:
    """The words of ``text``: case folded and without apostrophes; all else that is no letter or digit parts words."""
    if text.isascii():
        return _WORD.findall(text.lower().translate(_APOSTROPHES))
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    return _WORD.findall(_UNSPACED.sub(r" \g<0> ", folded))
