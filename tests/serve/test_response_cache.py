"""The cache of whole answers: nobody gets another answer than the one the server would compute, or another's answer."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.data import NoTexts, load_anonymiser
from harness.serve.gateway.parts import ResponseCache
from harness.serve.gateway.response_cache import (
    ExactResponseCache,
    always_the_same,
    cacheable,
    open_response_cache,
    runtime_digest,
)
from harness.spec.repository import load_repository
from harness.spec.serving import Answers
from tests.run.project import http_app, make_project
from tests.run.test_gate_bad_input import LLM_FILES
from tests.store.conftest import frozen, small_disk  # noqa: F401 - fixtures
from tests.store.helpers import finish, start

DIGEST = "d" * 64
REQUEST: Mapping[str, object] = {
    "model": "desk",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is it?"}],
    "temperature": 0,
    "max_tokens": 20,
    "stop": ["\n"],
    "n": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"17": 3.5},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    "inputs": {"tier": "gold", "count": 3},
}
ANSWER = orjson.dumps({"text": "It is on its way.", "finish_reason": "stop"})


def unseen(path: Path, settings: Answers | None = None, **more: Any) -> ExactResponseCache:
    """A cache that keeps answers without looking at them."""
    return ExactResponseCache(path, settings or Answers(), without_privacy=True, **more)


def put(cache: ResponseCache, answer: bytes = ANSWER, request: Mapping[str, object] = REQUEST) -> None:
    """Keep the answer to a request."""
    cache.put(key_of(cache, request), answer, request)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ExactResponseCache]:
    """An empty cache."""
    made = unseen(tmp_path / "answers.sqlite")
    yield made
    made.close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExactResponseCache]:
    """A cache of which only the keys are asked for."""
    made = unseen(tmp_path_factory.mktemp("keys") / "answers.sqlite")
    yield made
    made.close()


def key_of(cache: ResponseCache, request: Mapping[str, object] = REQUEST, **more: str) -> str:
    """The key of a request."""
    return cache.key(**{"tenant": "anna", "digest": DIGEST, **more}, request=request)


def test_an_answer_is_given_again_byte_for_byte(cache: ExactResponseCache) -> None:
    """What was put under a request's key is what the same request gets, and a later answer replaces it."""
    assert cache.get(key_of(cache)) is None
    for answer in (ANSWER, b'{"text": "another"}'):
        put(cache, answer)
        assert cache.get(key_of(cache)) == answer


def test_answers_outlive_the_server(tmp_path: Path) -> None:
    """A server that starts later on the same folder reuses the answers."""
    for _ in range(2):
        found = open_response_cache(tmp_path / "home", Answers(), Names())
        assert found is not None
        put(found)
        found.close()
    found = open_response_cache(tmp_path / "home", Answers(), Names())
    assert found is not None and found.get(key_of(found)) == ANSWER
    found.close()


def test_without_an_anonymiser_there_is_no_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Switched off, or with nobody to look at the texts, no file is made; the second is said."""
    assert open_response_cache(tmp_path / "none", Answers(enabled=False), Names()) is None
    assert caplog.text == ""
    assert open_response_cache(tmp_path / "none", Answers(), None) is None
    assert "no anonymiser" in caplog.text and not (tmp_path / "none").exists()
    bare = ExactResponseCache(tmp_path / "c", Answers())
    put(bare)
    bare.settle()
    assert bare.get(key_of(bare)) is None
    bare.close()


SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from([*REQUEST, "prompt", "top_p", "some_field_of_tomorrow"]), VALUES, max_size=6)


def same(left: Any, right: Any) -> bool:
    """Whether two bodies are the same JSON, apart from fields that say nothing."""

    def text(body: Mapping[str, Any]) -> str:
        return json.dumps({name: value for name, value in body.items() if value is not None}, sort_keys=True)

    return text(left) == text(right)


@given(BODIES, BODIES)
def test_other_requests_have_other_keys(keys: ExactResponseCache, one: dict[str, Any], two: dict[str, Any]) -> None:
    """Two requests share a key exactly when they are the same JSON: any field that may matter separates them."""
    assert (key_of(keys, one) == key_of(keys, two)) == same(one, two)


@given(BODIES, st.sampled_from([*REQUEST, "seed", "top_p", "top_k", "signoff"]), VALUES)
def test_changing_any_field_changes_the_key(
    keys: ExactResponseCache, body: dict[str, Any], name: str, value: Any
) -> None:
    """One field given, dropped or given another value is another request."""
    changed = {**body, name: value}
    assume(not same(body, changed))
    assert key_of(keys, body) != key_of(keys, changed)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every single value inside ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from places(part, (*at, name))
    if not isinstance(value, dict | list):
        yield at


def changed_at(value: Any, at: tuple[Any, ...]) -> Any:
    """A copy in which one single value is another one."""
    if not at:
        return f"{value} " if isinstance(value, str) else (not value) if isinstance(value, bool) else value + 1
    copy = value.copy()
    copy[at[0]] = changed_at(value[at[0]], at[1:])
    return copy


@pytest.mark.parametrize("at", list(places(REQUEST)), ids=lambda at: ".".join(map(str, at)))
def test_each_value_of_a_request_is_in_its_key(keys: ExactResponseCache, at: tuple[Any, ...]) -> None:
    """Changing a value however deep, by a blank or by one, changes the key."""
    assert key_of(keys, changed_at(dict(REQUEST), at)) != key_of(keys)


@pytest.mark.parametrize("name", list(REQUEST))
def test_each_field_left_out_is_another_request(keys: ExactResponseCache, name: str) -> None:
    """A request without one of its fields has another key: an omitted temperature is not temperature 0."""
    assert key_of(keys, {field: value for field, value in REQUEST.items() if field != name}) != key_of(keys)


def shuffled(value: Any, source: random.Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, Mapping):
        items = [(name, shuffled(part, source)) for name, part in value.items()]
        source.shuffle(items)
        return dict(items)
    return [shuffled(part, source) for part in value] if isinstance(value, list) else value


@given(BODIES, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(
    keys: ExactResponseCache, body: dict[str, Any], source: random.Random
) -> None:
    """The same request written with its keys in another order has the same key, the order of lists matters."""
    assert key_of(keys, shuffled(body, source)) == key_of(keys, body)
    turned = {**REQUEST, "messages": list(reversed(REQUEST["messages"]))}  # type: ignore[call-overload]
    assert key_of(keys, turned) != key_of(keys)


@given(st.text("abc", min_size=1), st.text("abc", min_size=1), st.text("de", min_size=1), st.text("de", min_size=1))
def test_tenants_and_digests_are_apart(keys: ExactResponseCache, one: str, two: str, left: str, right: str) -> None:
    """Another tenant, or another effective digest, never shares an answer."""
    equal = key_of(keys, tenant=one, digest=left) == key_of(keys, tenant=two, digest=right)
    assert equal == ((one, left) == (two, right))


@pytest.mark.parametrize(
    "more", [{"user": "u1"}, {"stream": True}, {"stream_options": {"include_usage": True}}, {"seed": None}]
)
def test_who_asks_and_how_it_is_sent_do_not_matter(keys: ExactResponseCache, more: dict[str, Any]) -> None:
    """The user, streaming and fields that are null are no part of the key."""
    assert key_of(keys, {**REQUEST, **more}) == key_of(keys)


def test_other_versions_of_what_computes_have_other_keys(
    tmp_path: Path, keys: ExactResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade of the engine's packages earlier answers are not found."""
    before = runtime_digest()
    other = unseen(tmp_path / "c", runtime="other")
    assert key_of(other) != key_of(keys)
    other.close()
    monkeypatch.setattr("harness.serve.gateway.response_cache.metadata.version", lambda name: "99")
    assert runtime_digest() != before
    monkeypatch.undo()
    monkeypatch.setenv("SIGNOFF_DEVICE", "cuda:7")
    assert runtime_digest() != before


@pytest.mark.parametrize("more", [{"tenant": ""}, {"digest": ""}])
def test_without_tenant_or_digest_nothing_is_kept(cache: ExactResponseCache, more: dict[str, str]) -> None:
    """A request of nobody, or to something unknown, has the empty key."""
    assert key_of(cache, **more) == ""


def test_a_request_without_a_canonical_form_is_never_kept(cache: ExactResponseCache) -> None:
    """Nesting that can be read but not written again gives the empty key, under which nothing is kept."""
    deep = orjson.loads(b'{"inputs": ' + b"[" * 600 + b"]" * 600 + b"}")
    assert key_of(cache, deep) == ""
    cache.put("", ANSWER, deep)
    assert cache.get("") is None


@pytest.mark.parametrize(
    "body", [b'{"error": {"message": "busy"}}', b'{"error": null}', b"", b"oops", b'"text"', b"[]", b"{", b"\xff"]
)
def test_what_is_no_answer_is_not_kept(cache: ExactResponseCache, body: bytes) -> None:
    """Error bodies, and whatever is no JSON object, are never given as an answer."""
    put(cache, body)
    assert cache.get(key_of(cache)) is None


PINNED = {
    "models/remote/model.yaml": """\
        name: remote
        source: pypi:some==1.0#file.gguf
        sha256: %s
        licence: MIT
        context: 2048
        """.replace("        ", "")
    % ("a" * 64),
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, True),
        (LLM_FILES, False),
        ({**LLM_FILES, **PINNED}, True),
        ({"suites/desk/app.yaml": http_app("http://127.0.0.1:9", "digest_header: x-build")}, False),
    ],
    ids=["functions", "endpoint", "pinned model", "service"],
)
def test_apps_that_depend_on_what_changes_are_not_cached(tmp_path: Path, files: dict[str, str], expected: bool) -> None:
    """An app of functions and greedy pinned models answers alike each time; services and endpoints may not."""
    project = make_project(tmp_path, count=2, files=files)
    assert always_the_same(load_repository(project.root, with_suites=False).apps["desk"]) is expected


def test_an_app_that_samples_is_not_cached(tmp_path: Path) -> None:
    """A model step with a temperature makes the app's answers chance, seed or not."""
    project = make_project(tmp_path, count=2, files={**LLM_FILES, **PINNED})
    app = (project.root / "suites/desk/app.yaml").read_text(encoding="utf-8")
    project.write({"suites/desk/app.yaml": app.rstrip() + "\n    decoding: {temperature: 0.5}\n"})
    files = load_repository(project.root, with_suites=False).apps["desk"]
    assert files.app.steps[0].decoding.temperature == 0.5  # type: ignore[union-attr]
    assert not always_the_same(files)


class Names:
    """Replaces two names, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def anonymise_json(self, value: Any) -> Any:
        """The same without them."""
        self.asked += 1
        return orjson.loads(orjson.dumps(value).replace(b"Anna", b"<PERSON_1>").replace(b"Ben", b"<PERSON_2>"))


class Broken:
    """An anonymiser that fails."""

    def anonymise_json(self, value: Any) -> Any:
        """Fail, naming what it was given."""
        raise ValueError(value)


PLAIN: Mapping[str, object] = {"text": "on its way"}


def test_personal_data_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    """What names a person, in request or answer, is not for the cache; without a working anonymiser nothing is."""
    assert cacheable(REQUEST, PLAIN, Names())
    assert not cacheable({"prompt": "I am Anna"}, PLAIN, Names())
    assert not cacheable(REQUEST, {"text": "ask Ben"}, Names())
    assert not cacheable(REQUEST, PLAIN, None)
    assert not cacheable(REQUEST, PLAIN, NoTexts())
    with caplog.at_level(logging.WARNING):
        assert not cacheable({"prompt": "secret words"}, PLAIN, Broken())
    assert "ValueError" in caplog.text and "secret words" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "I am Anna"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "I am Anna"}]}]},
        {"prompt": ["x", "I am Anna"]},
        {"inputs": {"who": {"first": ["Anna"]}}},
        {"inputs": {"Anna": 3}},
        {"inputs": {"logprobs": "Anna"}},
        {"inputs": {"choices": [{"logprobs": "Anna"}]}},
        {"choices": [{"logprobs": ["Anna"]}]},
        {"stop": ("Anna",)},
        {"response_format": {"json_schema": {"schema": {"enum": ["Anna"]}}}},
    ],
)
def test_every_text_of_a_request_is_looked_at(body: dict[str, Any]) -> None:
    """A name is found wherever in the request it stands."""
    assert not cacheable(body, PLAIN, Names())


def test_an_answer_is_looked_at_once_and_not_token_by_token() -> None:
    """The text of a choice is looked at, its single tokens are not; what an app's steps did is."""
    tokens = [["An", [65, 110], -0.5, []]]
    answer = {"choices": [{"text": "Hello", "logprobs": tokens}], "steps": None}
    seen: list[Any] = []

    class Looking(Names):
        def anonymise_json(self, value: Any) -> Any:
            seen.append(value)
            return super().anonymise_json(value)

    assert cacheable(REQUEST, answer, Looking())
    assert tokens not in [choice["logprobs"] for choice in seen[-1]["choices"]]
    assert not cacheable(REQUEST, {**answer, "steps": {"triage": {"output": "Anna"}}}, Names())
    assert not cacheable(REQUEST, {"choices": [{"text": "Anna", "logprobs": tokens}]}, Names())


def test_only_clean_answers_reach_the_file(tmp_path: Path) -> None:
    """An answer that was put is kept once the anonymiser, in a thread, found nothing in it or in its request."""
    cache = ExactResponseCache(tmp_path / "answers.sqlite", Answers(), Names())
    dirty = {**REQUEST, "inputs": {"name": "Anna"}}
    put(cache)
    put(cache, request=dirty)
    put(cache, orjson.dumps({"text": "ask Ben"}), {**REQUEST, "seed": 1})
    cache.settle()
    assert cache.get(key_of(cache)) == ANSWER
    assert cache.get(key_of(cache, dirty)) is None and cache.get(key_of(cache, {**REQUEST, "seed": 1})) is None
    cache.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"It is on its way." in content and b"Anna" not in content and b"Ben" not in content


def test_the_real_anonymiser_keeps_ordinary_answers_and_no_personal_ones() -> None:
    """Ordinary questions are cacheable whatever their digests look like; planted identifiers never are."""
    pytest.importorskip("presidio_analyzer")
    anonymiser = load_anonymiser()
    question = {"role": "user", "content": "How do I return a pair of socks that do not fit?"}
    answer = {"text": "You can return them within 30 days; the label is in the parcel.", "latency_ms": 1234.567}
    for number in range(40):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        request = {"app": {"messages": [question], "inputs": {"tier": "gold"}, "adapter": digest}}
        assert cacheable(request, {**answer, "digest": digest}, anonymiser), digest
    for planted in ("My name is Anna Schmidt", "mail anna@example.com", "call +49 170 1234567", "my order is 10234567"):
        assert not cacheable({"messages": [{"role": "user", "content": planted}]}, answer, anonymiser), planted
        assert not cacheable({"messages": [question]}, {"text": planted}, anonymiser), planted


def test_a_put_does_not_wait_for_the_anonymiser(tmp_path: Path) -> None:
    """While the anonymiser is slow, puts return, those beyond a limit are left out, and closing keeps what waited."""
    going = threading.Event()

    class Slow(Names):
        def anonymise_json(self, value: Any) -> Any:
            assert going.wait(60)
            return super().anonymise_json(value)

    path = tmp_path / "answers.sqlite"
    cache = ExactResponseCache(path, Answers(), Slow())
    requests = [{**REQUEST, "seed": number} for number in range(200)]
    for request in requests:
        put(cache, request=request)
    assert all(cache.get(key_of(cache, request)) is None for request in requests)
    going.set()
    cache.close()
    put(cache, request=requests[0])
    assert cache.get(key_of(cache, requests[0])) is None
    again = unseen(path)
    kept = [again.get(key_of(again, request)) is not None for request in requests]
    assert kept == [number < 64 for number in range(200)]
    again.close()


def test_the_file_holds_no_request(tmp_path: Path) -> None:
    """Neither the request's text nor tenant or user can be found in the files of the cache."""
    cache = unseen(tmp_path / "answers.sqlite")
    secret = {**REQUEST, "messages": [{"role": "user", "content": "my-secret-question"}], "user": "secret-user"}
    cache.put(key_of(cache, secret, tenant="secret-tenant"), ANSWER, secret)
    cache.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"It is on its way." in content and b"secret" not in content


def test_answers_expire_and_are_bounded(tmp_path: Path) -> None:
    """The age and the size that serve.yaml allows hold."""
    now = 1e9
    cache = unseen(tmp_path / "c", Answers(seconds=60, megabytes=0.25), now=lambda: now)
    for number in range(400):
        cache.put(f"{number:064}", orjson.dumps({"text": "x" * 1500}), REQUEST)
    assert cache.get(f"{399:064}") and not cache.get(f"{0:064}")
    assert (tmp_path / "c").stat().st_size < 300_000
    now += 60
    assert cache.get(f"{399:064}") is None
    cache.close()


def test_a_damaged_file_is_rebuilt_with_one_warning(tmp_path: Path) -> None:
    """A file that is no database at the start is put aside, said once, and answers are kept in a new one."""
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        cache = unseen(path)
        put(cache)
        assert cache.get(key_of(cache)) == ANSWER
        cache.close()
    assert ["is damaged" in str(warning.message) for warning in seen] == [True]
    assert len(list(tmp_path.glob("answers.sqlite.damaged-*"))) == 1


def test_a_full_disk_is_no_cache(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    """When the disk is full the server keeps no answers, says so once, and resumes when there is room."""
    now = 0.0
    path = small_disk / "answers.sqlite"
    cache = unseen(path, monotonic=lambda: now)
    cache.put("first", ANSWER, REQUEST)
    (small_disk / "filler").write_bytes(bytes(small_disk_room(small_disk)))
    with caplog.at_level(logging.WARNING):
        for number in range(300):
            now += 1
            cache.put(f"k{number}", orjson.dumps({"text": "x" * 5000}), REQUEST)
    assert caplog.text.count("neither kept nor reused") == 1 and "no space left" in caplog.text
    (small_disk / "filler").unlink()
    now += 11
    assert cache.get("first") == ANSWER
    cache.put("again", ANSWER, REQUEST)
    assert cache.get("again") == ANSWER
    assert "can be used again" in caplog.text
    cache.close()


def small_disk_room(disk: Path) -> int:
    """The bytes that are free, less a little that SQLite needs to go on reading."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize - 40_000


@pytest.mark.parametrize("place", ["file/answers.sqlite", "."])
def test_a_place_that_cannot_be_is_no_cache(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    """A path below a file, or a folder where the file should be, is a warning; every request is a miss."""
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        cache = unseen(tmp_path / place)
        cache.put("k", ANSWER, REQUEST)
        assert cache.get("k") is None
    assert caplog.text.count("neither kept nor reused") == 1
    cache.close()


def test_a_read_only_disk_is_no_cache(small_disk: Path, frozen: Callable[[], None]) -> None:  # noqa: F811
    """A disk that was mounted read-only makes every request a miss and no request an error."""
    frozen()
    cache = unseen(small_disk / "answers.sqlite")
    cache.put("k", ANSWER, REQUEST)
    assert cache.get("k") is None
    cache.close()


SERVER = """
    import orjson, random
    from pathlib import Path
    from harness.serve.gateway.response_cache import ExactResponseCache
    from harness.spec.serving import Answers
    source, n = random.Random(sys.argv[2]), 0
    cache = ExactResponseCache(Path(sys.argv[1]), Answers(megabytes=0.5), without_privacy=True, runtime="")
    while n < int(sys.argv[3]):
        key = cache.key("anna", "d", {"prompt": source.randrange(200)})
        found = cache.get(key)
        assert found is None or orjson.loads(found)["key"] == key
        cache.put(key, orjson.dumps({"key": key, "text": "x" * source.randrange(4000)}), {})
        n += 1
        if n % 50 == 1:
            print(n, flush=True)
"""


def test_killed_servers_leave_answers_that_can_be_trusted(tmp_path: Path) -> None:
    """Two servers on one cache, killed at random ten times: it opens unharmed, and every answer is its key's own."""
    path, source = tmp_path / "answers.sqlite", random.Random(3)
    for round_ in range(10):
        servers = [start(SERVER, path, f"{round_}-{name}", 10**9) for name in "ab"]
        for server in servers:
            assert server.stdout is not None
            for _ in range(source.randrange(1, 4)):
                assert server.stdout.readline(), server.communicate()[1]
        for server in servers:
            os.kill(server.pid, signal.SIGKILL)
            server.communicate(timeout=60)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache = unseen(path, Answers(megabytes=0.5), runtime="")
            asked = [cache.key("anna", "d", {"prompt": prompt}) for prompt in range(200)]
            found = {key: answer for key in asked if (answer := cache.get(key))}
            cache.close()
        assert found and all(orjson.loads(answer)["key"] == key for key, answer in found.items())
    assert not list(tmp_path.glob("*.damaged-*"))


def test_servers_at_once_share_their_answers(tmp_path: Path) -> None:
    """Three servers that read and write one cache at the same time end well, and a fourth finds their answers."""
    path = tmp_path / "answers.sqlite"
    for process in [start(SERVER, path, name, 300) for name in "abc"]:
        finish(process)
    cache = unseen(path, Answers(megabytes=0.5), runtime="")
    assert sum(cache.get(cache.key("anna", "d", {"prompt": prompt})) is not None for prompt in range(200)) > 20
    cache.close()


def test_threads_may_share_one_cache(cache: ExactResponseCache) -> None:
    """Puts from threads while others get lose nothing and mix nothing up."""
    wrong: list[str] = []

    def work(name: str) -> None:
        for number in range(100):
            key, answer = f"{name}-{number}", orjson.dumps({"text": f"{name}-{number}"})
            cache.put(key, answer, REQUEST)
            if cache.get(key) != answer:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_keys_are_the_same_in_every_process(keys: ExactResponseCache) -> None:
    """Another process, with another seed of Python's own hash, has the same keys."""
    program = (
        "import sys, orjson; from pathlib import Path; from harness.spec.serving import Answers\n"
        "from harness.serve.gateway.response_cache import ExactResponseCache\n"
        "print(ExactResponseCache(Path(sys.argv[1]), Answers()).key('anna', sys.argv[2], orjson.loads(sys.argv[3])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(keys._path.with_name("other")), DIGEST, orjson.dumps(REQUEST).decode()],
        env={**os.environ, "PYTHONHASHSEED": "3"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == key_of(keys)
