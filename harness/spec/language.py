"""The language of a text, guessed offline by py3langid (BSD-3-Clause), an n-gram classifier with its own model file."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

from harness.errors import UsageError

PACKAGE = "py3langid"
MISSING = f"context.language needs the package {PACKAGE}; install it with: pip install 'signoff[serve]'"
LANGUAGES = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "ga", "he", "hi",
    "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nl", "no", "pl", "pt", "ro", "ru",
    "sk", "sl", "sr", "sv", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
"""What can be guessed. The model knows 97 more, mostly near relatives of these, which short messages are taken for:
"i want my money back" for Nigerian Pidgin."""
UNKNOWN = "und"
"""ISO 639's code for a language that cannot be told."""

# Of 300 English messages to a shop 299 are surer than this and none is taken for another language; greetings, order
# numbers and single words lie below.
_SURE = 0.4
_ENOUGH = 4000


def installed() -> bool:
    """Whether languages can be guessed here."""
    return importlib.util.find_spec(PACKAGE) is not None


def guess_language(text: str) -> str:
    """The ISO 639-1 code of one of ``LANGUAGES``, or ``und``; UsageError without the package. The first call takes a
    second and 100 MB."""
    language, confidence = _identifier().classify(text[:_ENOUGH])
    return str(language) if confidence >= _SURE else UNKNOWN


@lru_cache(maxsize=1)
def _identifier() -> Any:
    if not installed():
        raise UsageError(MISSING)
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
