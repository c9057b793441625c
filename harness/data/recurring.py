"""What was found once is found everywhere: a name in the second sentence, an order number without its letters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.data.people import name_words
from harness.data.spans import Span

_BETWEEN = r"[ .\-/]{0,2}"
_ENOUGH_DIGITS, _ENOUGH, _LONGEST = 5, 3, 100


def again(text: str, values: Iterable[tuple[str, str]]) -> Iterator[Span]:
    """Further places of ``values`` (entity and folded spelling) in a folded text, and of the words of names."""
    for entity, value in dict.fromkeys(values):
        if len(value) > _LONGEST:
            continue
        for pattern in _patterns(entity, value):
            for found in pattern.finditer(text):
                yield Span(*found.span(), entity, 0.5)


def _patterns(entity: str, value: str) -> Iterator[re.Pattern[str]]:
    if entity == "PERSON":
        for word in name_words(value):
            # "Rose sent me a rose": in lower case a name is a word again, unless it was found in lower case.
            forms = {re.escape(form) for form in (word, word.capitalize(), word.upper())}
            yield re.compile(rf"(?<!\w)(?:{'|'.join(sorted(forms))})(?!\w)")
        return
    digits = [c for c in value if c.isdigit()]
    if len(digits) >= _ENOUGH_DIGITS:
        yield re.compile(rf"(?<!\d){_BETWEEN.join(digits)}(?!\d)")
    if sum(c.isalnum() for c in value) >= _ENOUGH:
        yield re.compile(rf"(?<!\w){re.escape(value)}(?!\w)", re.IGNORECASE)
