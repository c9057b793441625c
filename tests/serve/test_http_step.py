"""HTTP steps against a stub on loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.serve.steps.chain import Call, ChainResult
from harness.store import GenerationCache
from tests.run.project import Reply, Stub, reply, serving
from tests.serve.apps import app_files, ask, ask_all, no_pause

APP = """
inputs:
  message: {{from: user_message}}
  limit: {{kind: integer, default: 3}}
steps:
  - id: ask
    kind: http
    url: {url}
    body: {{q: "{{{{ inputs.message }}}}", n: [1, "{{{{ inputs.limit }}}}"], fixed: true}}
    {more}
"""
MESSAGE = Call(messages=[{"role": "user", "content": 'say "hi"'}])


def answered(
    root: Path, answer: Callable[[Any], Reply], more: str = "result: $.text", path: str = "/v1"
) -> tuple[ChainResult, Stub]:
    """What the app says when the service answers so."""
    with serving(answer) as stub:
        return ask(app_files(root, APP.format(url=stub.url + path, more=more)), MESSAGE), stub


def test_templates_fill_body_and_url(tmp_path: Path) -> None:
    """Strings of the request are templates over the inputs, everything else is sent as it stands."""
    result, stub = answered(
        tmp_path, lambda _: reply({"text": "ok"}), "result: $.text\n    headers: {x-team: desk}", "/{{ inputs.limit }}"
    )
    assert result.text == "ok"
    ((path, headers, body),) = stub.asked
    assert path == "/3"
    assert body == {"q": 'say "hi"', "n": [1, "3"], "fixed": True}
    assert headers["x-team"] == "desk"


@pytest.mark.parametrize(
    ("path", "value"),
    [("$.choices[0].text", "first"), ("$", {"choices": [{"text": "first"}, {"text": "second"}], "n": 2}), ("$.n", 2)],
)
def test_result_is_taken_by_jsonpath(tmp_path: Path, path: str, value: Any) -> None:
    """``result`` picks the first match; numbers and objects stay what they are."""
    body = {"choices": [{"text": "first"}, {"text": "second"}], "n": 2}
    assert answered(tmp_path, lambda _: reply(body), f"result: {path}")[0].value == value


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>busy</html>", {}), "the answer is not JSON: <html>busy"),
        ((500, b'{"detail": "boom"}', {}), 'HTTP 500: {"detail": "boom"}'),
        ((404, b"", {}), "HTTP 404"),
        ((200, b'{"other": 1}', {}), "JSONPath '$.text' finds nothing"),
        ((200, b"", {}), "the answer is not JSON"),
    ],
)
def test_bad_answers_are_named(tmp_path: Path, answer: Reply, said: str) -> None:
    """Each way in which a service can answer wrongly is that step's error, with status and the body's start."""
    result, _ = answered(tmp_path, lambda _: answer)
    assert result.status == "error"
    assert result.reason.startswith("step 'ask': ") and said in result.reason


def test_timeout_is_named(tmp_path: Path) -> None:
    """A service that is silent longer than ``timeout_s`` is an error that names the time."""
    import threading

    quiet = threading.Event()

    def silent(_: Any) -> Reply:
        quiet.wait(10)
        raise ConnectionError

    with serving(silent) as stub:
        files = app_files(tmp_path, APP.format(url=stub.url, more="timeout_s: 0.1"))
        result = ask(files, MESSAGE)
        quiet.set()
    assert "no answer within 0.1 s" in result.reason


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (429, 3), (500, 1), (400, 1)])
def test_only_passing_troubles_are_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, tries: int
) -> None:
    """408, 429, 502, 503 and 504 are asked again; an error of the request or of the program is not."""
    no_pause(monkeypatch)
    result, stub = answered(tmp_path, lambda _: reply({}, status), "retries: 2")
    assert (result.status, len(stub.asked)) == ("error", tries)


def test_connection_that_breaks_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends without an answer is asked again."""
    no_pause(monkeypatch)
    left = [1]

    def once_dead(_: Any) -> Reply:
        if left:
            left.pop()
            raise ConnectionError
        return reply({"text": "back"})

    assert answered(tmp_path, once_dead, "result: $.text\n    retries: 1")[0].text == "back"


def test_token_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is sent as a bearer header; a variable that is not set is a usage error that names it."""
    monkeypatch.setenv("DESK_TOKEN", "s3cret")
    result, stub = answered(tmp_path, lambda _: reply({"text": "ok"}), "result: $.text\n    token_env: DESK_TOKEN")
    assert (result.text, stub.asked[0][1]["authorization"]) == ("ok", "Bearer s3cret")
    monkeypatch.delenv("DESK_TOKEN")
    with pytest.raises(UsageError, match="DESK_TOKEN, which is not set"):
        answered(tmp_path, lambda _: reply({"text": "ok"}), "token_env: DESK_TOKEN")


def test_answers_are_kept_only_as_long_as_asked(tmp_path: Path) -> None:
    """Within ``cache_s`` an equal request is answered from the cache and says so; with 0 the service is asked again."""
    with serving(lambda _: reply({"text": "ok"})) as stub, GenerationCache(tmp_path / "c.sqlite") as cache:
        for seconds, asked in ((1_000_000_000, 1), (0, 2)):
            stub.asked.clear()
            files = app_files(tmp_path, APP.format(url=stub.url, more=f"result: $.text\n    cache_s: {seconds}"))
            results = ask_all(files, [MESSAGE, MESSAGE], cache=cache)
            assert [result.text for result in results] == ["ok", "ok"]
            assert (results[1].cached, len(stub.asked)) == (asked == 1, asked)


def test_failures_are_never_kept(tmp_path: Path) -> None:
    """An error is not cached: the next request asks again."""
    answers = [reply({}, 500), reply({"text": "ok"})]
    with serving(lambda _: answers.pop(0)) as stub, GenerationCache(tmp_path / "c.sqlite") as cache:
        files = app_files(tmp_path, APP.format(url=stub.url, more="result: $.text"))
        assert [result.status for result in ask_all(files, [MESSAGE, MESSAGE], cache=cache)] == ["error", "ok"]


def test_template_over_nothing_is_named(tmp_path: Path) -> None:
    """A template that names what does not exist is the step's error, and the service is not asked."""
    result, stub = answered(tmp_path, lambda _: reply({}), "headers: {}", "/{{ inputs.colour }}")
    assert "request template" in result.reason and "colour" in result.reason
    assert stub.asked == []
