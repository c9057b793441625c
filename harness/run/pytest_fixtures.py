"""Fixtures of hand-written tests below ``suites/<app>/``."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from harness.errors import SignoffError

if TYPE_CHECKING:
    from harness.run.pytest_bench import Bench
    from harness.run.pytest_trees import Tree
    from harness.serve.steps.chain import ChainResult


class AppUnderTest:
    """The candidate: called with a text and inputs it answers as the gate would see it."""

    def __init__(self, name: str, bench: Bench) -> None:
        self.name = name
        self._bench = bench

    def __call__(self, text: str | None = None, /, **inputs: Any) -> ChainResult:
        """Answer; ``text`` is the user's message.

        The result has ``text``, ``value``, ``steps``, ``status`` and ``reason``: what goes wrong in a step is told
        by the last two, not raised.
        """
        from harness.run.pytest_bench import question

        return self._bench.answer(self.name, question(text, inputs))

    def step(self, name: str) -> Callable[..., Any]:
        """The Python function of a function step; SignoffError when the app has no such step."""
        return self._bench.function(self.name, name)


class Client:
    """The least that a chat needs, over the gateway; any OpenAI client can be given ``base_url`` instead."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def chat(self, model: str, messages: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
        """The chat completion as plain data; SignoffError for any other answer than 200."""
        place = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(place.netloc)
        content = json.dumps({"model": model, "messages": messages, **body})
        try:
            connection.request("POST", f"{place.path}/chat/completions", content, {"content-type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            said = data[:300].decode(errors="replace")
            message = f"{self.base_url} answers {model!r} with HTTP {answer.status}: {said}"
            raise SignoffError(message)
        found: dict[str, Any] = json.loads(data)
        return found


def register(node: pytest.Collector, tree: Tree) -> None:
    """Declare the fixtures for the tests below ``node``, the folder of an app's suite."""
    name = node.path.name
    tree.meet(name)

    def app() -> AppUnderTest:
        """Ask the app whose suite this is: ``app("text", **inputs)``, and ``app.step(id)`` for a function step."""
        with _told():
            return AppUnderTest(name, tree.bench)

    def outputs() -> Mapping[str, dict[str, Any]]:
        """What the app answered to each case of its suite, by case id: rows as in a run's outputs.jsonl."""
        with _told():
            return tree.results.outputs_of(name)

    def client() -> Client:
        """A chat client of the gateway, which serves the app under its name."""
        with _told():
            return Client(f"{tree.bench.url()}/v1")

    for function in (app, outputs, client):
        pytest.register_fixture(name=function.__name__, func=function, node=node, scope="session")


@contextmanager
def _told() -> Iterator[None]:
    # Files that are wrong are told as everywhere else: in words, without a traceback.
    try:
        yield
    except SignoffError as error:
        pytest.fail(str(error), pytrace=False)
