"""The guess of a text's language."""

from __future__ import annotations

import importlib.util
import socket
import sys

import pytest

from harness.errors import UsageError
from harness.spec import language
from harness.spec.language import LANGUAGES, UNKNOWN, guess_language


@pytest.fixture
def _package() -> None:
    pytest.importorskip(language.PACKAGE)


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Where is my order?", "en"),
        ("i want my money back", "en"),
        ("WHERE IS MY ORDER? I PAID TWO WEEKS AGO", "en"),
        ("Wo bleibt mein Paket?", "de"),
        ("¿Dónde está mi pedido?", "es"),
        ("Bonjour, où est ma commande ?", "fr"),
        ("返金してください", "ja"),
    ],
)
def test_messages_of_customers(text: str, code: str) -> None:
    """A sentence is enough to tell its language."""
    assert guess_language(text) == code


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("text", ["", "hi", "ORD-61204", "12345", "\ud800", "???" * 5000])
def test_what_cannot_be_told_is_undetermined(text: str) -> None:
    """Greetings, numbers and rubbish are no language rather than a wrong one."""
    assert guess_language(text) == UNKNOWN


@pytest.mark.usefixtures("_package")
def test_guess_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model lies in the package."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it asked the network"))
    language._identifier.cache_clear()
    assert guess_language("Where is my order?") == "en"
    assert set(LANGUAGES) <= set(language._identifier().labels)


def test_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the error says what to install."""
    monkeypatch.setitem(sys.modules, language.PACKAGE, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    language._identifier.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'signoff\[serve\]'"):
        guess_language("Where is my order?")
