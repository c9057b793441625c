"""What can be told of a request without a model: facts that conditions read as ``context``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.spec.language import guess_language

if TYPE_CHECKING:
    from harness.spec.apps import AppInput

FACTS: Mapping[str, str] = {"language": "user_message", "length": "user_message", "turns": "history"}
"""Each fact beside the source of the input that it is told from."""


class Context:
    """The facts of one request, each computed when a condition asks for it."""

    def __init__(self, message: str, turns: int) -> None:
        self._message = message
        self.length = len(message)
        """Characters of the user's message."""
        self.turns = turns
        """Messages that the user has written in this dialogue, this one included."""

    @cached_property
    def language(self) -> str:
        """The language of the user's message, ``und`` when it is too short or too mixed to tell."""
        return guess_language(self._message)


def context_of(declared: Mapping[str, AppInput], bound: Mapping[str, Any]) -> Context:
    """The facts of a request whose inputs are ``bound``.

    They come from the inputs and from nothing else, so a case and the chat request that equals it take one branch.
    """
    message = _filled("user_message", declared, bound)
    history = _filled("history", declared, bound)
    said = history if isinstance(history, list | tuple) else ()
    turns = 1 + sum(isinstance(turn, Mapping) and turn.get("role") == "user" for turn in said)
    return Context(message if isinstance(message, str) else "", turns)


def _filled(source: str, declared: Mapping[str, AppInput], bound: Mapping[str, Any]) -> Any:
    return next((bound.get(name) for name, spec in declared.items() if spec.source == source), None)
