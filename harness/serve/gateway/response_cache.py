"""Whole answers of deterministic requests, kept on disk: the same question to the same app is answered once.

What may go wrong with such a cache, and what is done about it here:
- An answer that the same request would not get again. The key holds every field of the request that may change the
  answer (whatever is not known to be harmless), the effective digest of what answers, and the versions of what
  computes; requests that draw tokens by chance, and apps that ask services, are not for this cache.
- One customer's answer given to another. The key holds the tenant.
- Personal data on disk. The file holds no request, its keys are digests, and an answer is kept only if neither it nor
  its request holds anything that the anonymiser finds. What the anonymiser misses is missed here too.
- An error that is repeated as an answer. What holds an error is not kept, and who calls keeps whole answers only.
- A cache that breaks the server. Whatever is wrong with the file, the server computes its answers without it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

import harness
from harness.errors import SignoffError
from harness.spec.repository import AppFiles
from harness.spec.serving import Answers
from harness.store import digest_of
from harness.store.bounded import BoundedCache

SCHEMA = 1
NOT_IN_KEY = frozenset({"user", "stream", "stream_options"})
"""Fields that say who asks and how the answer is sent; every other field is part of the key."""
_COMPUTES = ("torch", "transformers", "tokenizers", "llguidance", "peft")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAUSE_S = 10.0
_MOST_WAITING = 64
_log = logging.getLogger("signoff.cache")
_T = TypeVar("_T")


class Anonymiser(Protocol):
    """Replaces personal data."""

    def anonymise_json(self, value: Any) -> Any:
        """JSON data with everything replaced that says something about a person."""
        ...


class ExactResponseCache:
    """The ``ResponseCache`` of a gateway. No method raises: a cache that cannot be used behaves like an empty one.

    Without an ``anonymiser`` nothing is kept, unless ``without_privacy`` says that answers may be kept unseen. All may
    be called on the event loop: a get of a 4 kB answer takes 0.02 ms (99 %: 0.05 ms), waits at most a tenth of a second
    for another process, and a put returns at once, because looking at the texts is left to a thread.
    """

    def __init__(
        self,
        path: Path,
        settings: Answers,
        anonymiser: Anonymiser | None = None,
        *,
        without_privacy: bool = False,
        runtime: str | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._settings, self._anonymiser = path, settings, anonymiser
        self._without_privacy = without_privacy
        self._runtime = runtime_digest() if runtime is None else runtime
        self._now, self._monotonic = now, monotonic
        self._store: BoundedCache | None = None
        self._paused_until = -1.0
        self._failing = False
        self._opening = threading.Lock()
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="signoff-answers")
        self._waiting: set[Future[None]] = set()
        self._guarded(BoundedCache.size_bytes)

    def key(self, tenant: str, digest: str, request: Mapping[str, object]) -> str:
        """The key of one request to what has the effective ``digest``.

        It is empty, and nothing is kept under it, without a tenant or a digest and for what has no canonical form.
        """
        if not tenant or not digest:
            return ""
        asked = {name: value for name, value in request.items() if name not in NOT_IN_KEY and value is not None}
        parts = {"schema": SCHEMA, "runtime": self._runtime, "tenant": tenant, "digest": digest, "request": asked}
        try:
            return digest_of(parts)
        except TypeError:
            # Nesting that was read but cannot be written.
            return ""

    def get(self, key: str) -> bytes | None:
        """The kept answer; None if there is none, or if it cannot be trusted."""
        return self._guarded(lambda store: store.get(key)) if key else None

    def put(self, key: str, answer: bytes, request: Mapping[str, object]) -> None:
        """Keep the answer (a JSON object) to ``request``, the one that the key was made of.

        Left out are answers that hold ``error``, that say something about a person or whose request does, and those
        that come while too many others wait to be looked at.
        """
        found = _answer_in(answer)
        if not key or found is None:
            return
        if self._without_privacy:
            self._keep(key, answer)
        elif self._anonymiser is not None and len(self._waiting) < _MOST_WAITING:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                job = self._looking.submit(self._look_and_keep, key, answer, request, found)
                self._waiting.add(job)
                job.add_done_callback(self._waiting.discard)

    def settle(self) -> None:
        """Wait until every answer that was put is kept or left out."""
        wait(list(self._waiting))

    def close(self) -> None:
        """Keep what waits to be kept, and close the file. Later calls find nothing and keep nothing."""
        self._looking.shutdown()
        self._paused_until = math.inf
        self._drop()

    def _look_and_keep(
        self, key: str, answer: bytes, request: Mapping[str, object], found: Mapping[str, object]
    ) -> None:
        if cacheable(request, found, self._anonymiser):
            self._keep(key, answer)

    def _keep(self, key: str, answer: bytes) -> None:
        self._guarded(lambda store: store.put(key, answer))

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(sqlite3.Error):
                store.close()

    def _guarded(self, work: Callable[[BoundedCache], _T]) -> _T | None:
        """The result of ``work``, None while the file cannot be used; it is opened anew after a pause."""
        if self._monotonic() < self._paused_until:
            return None
        try:
            found = work(self._opened())
        except (SignoffError, OSError, sqlite3.Error) as error:
            self._paused_until = self._monotonic() + _PAUSE_S
            if not self._failing:
                _log.warning("answers are neither kept nor reused until this is mended: %s", error)
            self._failing = True
            self._drop()
            return None
        if self._failing:
            _log.warning("%s can be used again: answers are kept and reused", self._path)
        self._failing = False
        return found

    def _opened(self) -> BoundedCache:
        with self._opening:
            if self._store is None:
                limit = int(self._settings.megabytes * 2**20)
                self._store = BoundedCache(self._path, seconds=self._settings.seconds, limit=limit, now=self._now)
            return self._store


def open_response_cache(home: Path, settings: Answers, anonymiser: Anonymiser | None) -> ExactResponseCache | None:
    """The cache of answers below the folder ``home``; None if it is switched off or nobody looks at texts."""
    if not settings.enabled:
        return None
    if anonymiser is None:
        _log.warning("no answer is kept: there is no anonymiser to look at them")
        return None
    return ExactResponseCache(home / "answers.sqlite", settings, anonymiser)


def runtime_digest() -> str:
    """What computes answers beside the app: where, and the versions of Signoff and of the packages of its engine."""
    versions = {"signoff": harness.__version__, "device": os.environ.get("SIGNOFF_DEVICE", "")}
    for name in _COMPUTES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return digest_of(versions)


def always_the_same(files: AppFiles) -> bool:
    """Whether an app (with the request's overrides in it) answers one request always alike.

    Its model steps must be greedy on pinned bytes, and no step may ask a service: what a service knows changes.
    Function steps count as what they should be, functions of their inputs and files.
    """
    from harness.serve.steps.llm_step import samples

    return files.pinned and not samples(files) and all(step.kind != "http" for step in files.app.steps)


def cacheable(request: Mapping[str, object], answer: Mapping[str, object], anonymiser: Anonymiser | None) -> bool:
    """Whether neither request nor answer (JSON data) says something about a person: what is kept must be exact.

    Without an anonymiser, or with one that fails, the answer is no. Takes a millisecond or so for each text.
    """
    if anonymiser is None:
        return False
    try:
        # Both come back as they were if nothing was found in them.
        return all(anonymiser.anonymise_json(seen) == seen for seen in (_seen(request), _seen(_without_tokens(answer))))
    except Exception as error:
        _log.warning("an answer is not kept: the anonymiser failed with %s", type(error).__name__)
        return False


def _seen(value: object) -> Any:
    """``value`` as JSON gives it back, without digests: some have a run of digits that looks like somebody's number."""
    return _without_digests(orjson.loads(orjson.dumps(value)))


def _without_digests(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_digests(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_digests(inner) for inner in value]
    return "" if isinstance(value, str) and _DIGEST.fullmatch(value) else value


def _without_tokens(answer: Mapping[str, object]) -> Mapping[str, object]:
    """The answer without its texts' single tokens, which say nothing new and are many."""
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return answer
    slim = [{**each, "logprobs": None} if isinstance(each, dict) else each for each in choices]
    return {**answer, "choices": slim}


def _answer_in(content: bytes) -> dict[str, object] | None:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "error" not in found else None
